import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { formatTable } from "./table.ts";

interface InForce {
  readonly settings: Readonly<Record<string, { readonly value: string; readonly prefix: string }>>;
}

interface Listed {
  readonly settings: ReadonlyArray<{ readonly prefix: string; readonly values: Readonly<Record<string, string>> }>;
}

/** Stands for every repository, as in grants to everybody. */
const EVERY = "*";

export async function runRepoSet(
  name: string,
  assignments: readonly string[],
  { acceptLoss = false, ...options }: ServerOptions & { readonly acceptLoss?: boolean },
): Promise<void> {
  const values = Object.fromEntries(assignments.map(parseAssignment));
  const prefix = name === EVERY ? "" : name;
  const answer = await ask(openRegistry(options), "/v2/_meridian/settings", {
    method: "PUT",
    json: { prefix, values },
  });
  const { revision } = answer as { revision: string };
  process.stdout.write(
    options.json
      ? `${JSON.stringify(answer)}\n`
      : `${describePrefix(prefix)}: ${assignments.join(", ")} (policy revision ${revision})\n`,
  );
}

export async function runRepoShow(name: string | undefined, options: ServerOptions): Promise<void> {
  const client = openRegistry(options);
  const path = name === undefined ? "/v2/_meridian/settings" : `/v2/${encodeURI(name)}/_meridian/settings`;
  const answer = await ask(client, path);
  if (options.json) return void process.stdout.write(`${JSON.stringify(answer)}\n`);
  const rows = name === undefined ? listedRows(answer as Listed) : inForceRows(answer as InForce);
  process.stdout.write(rows.length === 0 ? "nothing is set\n" : formatTable(["SETTING", "VALUE", "SET FOR"], rows));
}

function listedRows({ settings }: Listed): string[][] {
  return settings.flatMap(({ prefix, values }) =>
    Object.entries(values).map(([name, value]) => [name, value, describePrefix(prefix)]),
  );
}

function inForceRows({ settings }: InForce): string[][] {
  return Object.entries(settings).map(([name, { value, prefix }]) => [name, value, describePrefix(prefix)]);
}

function describePrefix(prefix: string): string {
  return prefix === "" ? "every repository" : prefix;
}

/** @throws CommandError (exit code 2) when it is not name=value. */
function parseAssignment(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) throw usageError(`"${text}" sets nothing: name=value is wanted, e.g. tags=home:eu; name= takes it away`);
  return [text.slice(0, at), text.slice(at + 1)];
}

async function ask(
  client: RegistryClient,
  path: string,
  call: { readonly method?: string; readonly json?: unknown } = {},
): Promise<unknown> {
  // A home of tags that moves asks other sites.
  const answer = await client.call(path, { ...call, timeoutMs: 45_000 });
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return JSON.parse(answer.text);
}
