import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { keepLogin } from "../client/credentials.ts";
import { createRegistryClient, describeError, originOf } from "../client/registry-client.ts";
import { failure } from "../exit-status.ts";
import { homeFolder } from "../home-folder.ts";
import type { ServerOptions } from "../program/command.ts";
import { runningCluster } from "../running-cluster.ts";
import { readPassword } from "./password.ts";

export async function runLogin(
  server: string,
  options: ServerOptions & { username: string; passwordStdin?: boolean },
): Promise<void> {
  const origin = originOf(server);
  const password = await readPassword(options.passwordStdin === true);
  const caPath = options.ca ?? process.env.MERIDIAN_CA ?? devCaPath(origin, options);
  const client = createRegistryClient({
    server: origin,
    username: options.username,
    password,
    ...(caPath === undefined ? {} : { ca: readFileSync(caPath, "utf8") }),
  });
  const answer = await client.call("/v2/");
  if (answer.status !== 200) throw failure(`${origin}: ${describeError(answer)}`);
  keepLogin(origin, { username: options.username, password, ...(caPath === undefined ? {} : { ca: resolve(caPath) }) });
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ server: origin, username: options.username })}\n`
      : `Logged in to ${origin} as ${options.username}\n`,
  );
}

export function runLogout(server: string): void {
  keepLogin(originOf(server), undefined);
  process.stdout.write(`Logged out of ${originOf(server)}\n`);
}

function devCaPath(origin: string, options: ServerOptions): string | undefined {
  try {
    return runningCluster(options).sites.some((site) => site.gateway === origin)
      ? join(homeFolder(options), "ca.pem")
      : undefined;
  } catch {
    return undefined;
  }
}
