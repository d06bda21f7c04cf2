import { randomBytes } from "node:crypto";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { CommonOptions, ServerOptions } from "../program/command.ts";
import { readPassword } from "./password.ts";
import { formatTable } from "./table.ts";

interface ListedUser {
  readonly name: string;
  readonly disabled: boolean;
  readonly grants: ReadonlyArray<{ readonly repositoryPrefix: string; readonly role: string }>;
}

export async function runUserHash(options: CommonOptions & { passwordStdin?: boolean }): Promise<void> {
  const { hashPassword } = await import("@meridian/auth");
  const hash = await hashPassword(await readPassword(options.passwordStdin === true));
  process.stdout.write(options.json ? `${JSON.stringify({ hash })}\n` : `${hash}\n`);
}

export async function runUserList(options: ServerOptions): Promise<void> {
  const answer = await administer(openRegistry(options), "GET", "/v2/_meridian/users");
  const { users } = answer as { users: ListedUser[] };
  if (options.json) return void process.stdout.write(`${JSON.stringify(answer)}\n`);
  const rows = users.map((user) => [
    user.name,
    user.disabled ? "disabled" : "active",
    user.grants.map(describeGrant).join(", "),
  ]);
  process.stdout.write(formatTable(["NAME", "STATE", "GRANTS"], rows));
}

export async function runUserAdd(name: string, options: ServerOptions & { passwordStdin?: boolean }): Promise<void> {
  const generated = options.passwordStdin ? undefined : randomBytes(18).toString("base64url");
  const password = generated ?? (await readPassword(true));
  const answer = await administer(openRegistry(options), "PUT", `/v2/_meridian/users/${encodeURIComponent(name)}`, {
    password,
  });
  if (options.json)
    process.stdout.write(`${JSON.stringify({ ...answer, ...(generated ? { password: generated } : {}) })}\n`);
  else
    process.stdout.write(
      `user ${name} set (policy revision ${answer.revision})\n${generated ? `password: ${generated}\n` : ""}`,
    );
}

export async function runUserRemove(name: string, options: ServerOptions): Promise<void> {
  const answer = await administer(openRegistry(options), "DELETE", `/v2/_meridian/users/${encodeURIComponent(name)}`);
  process.stdout.write(
    options.json ? `${JSON.stringify(answer)}\n` : `user ${name} removed (policy revision ${answer.revision})\n`,
  );
}

export async function runUserGrant(
  name: string,
  role: string,
  options: ServerOptions & { repository: string },
): Promise<void> {
  if (!["pull", "push", "admin", "none"].includes(role))
    throw usageError(`"${role}" is not a role: pull, push, admin or none is wanted`);
  const grant = { principal: name, repositoryPrefix: options.repository, role: role === "none" ? "" : role };
  const answer = await administer(openRegistry(options), "PUT", "/v2/_meridian/grants", grant);
  const where = options.repository === "" ? "every repository" : options.repository;
  process.stdout.write(
    options.json
      ? `${JSON.stringify(answer)}\n`
      : `${name}: ${role} on ${where} (policy revision ${answer.revision})\n`,
  );
}

function describeGrant(grant: ListedUser["grants"][number]): string {
  return `${grant.role} on ${grant.repositoryPrefix === "" ? "everything" : grant.repositoryPrefix}`;
}

async function administer(
  client: RegistryClient,
  method: string,
  path: string,
  json?: unknown,
): Promise<Record<string, unknown>> {
  const answer = await client.call(path, { method, ...(json === undefined ? {} : { json }) });
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return JSON.parse(answer.text) as Record<string, unknown>;
}
