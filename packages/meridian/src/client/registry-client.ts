import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { Readable } from "node:stream";
import { failure, usageError } from "../exit-status.ts";
import { homeFolder } from "../home-folder.ts";
import type { ServerOptions } from "../program/command.ts";
import { runningCluster } from "../running-cluster.ts";
import { currentServer, storedLogin } from "./credentials.ts";
import { type HttpAnswer, sendRequest, streamRequest } from "./http-request.ts";

/** A gateway and the credentials to use there. */
export interface RegistryClient {
  readonly server: string;
  /** The authority that is trusted, PEM; absent: the system's. */
  readonly ca?: string;
  /**
   * One request, with a token fetched as the gateway's challenge says. Answers of 401 and 403 end the command with
   * the gateway's own words.
   */
  call(path: string, options?: { method?: string; json?: unknown; timeoutMs?: number }): Promise<HttpAnswer>;
  /**
   * One request whose answer's body is streamed, or whose own is: with a token as `call` has it. The caller reads the body.
   */
  stream(path: string, options?: StreamOptions): Promise<IncomingMessage>;
  /** The same login and trust at another gateway of the cluster: both are good at every site. */
  at(server: string): RegistryClient;
}

/** A request of {@link RegistryClient.stream}. */
export interface StreamOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | Readable;
}

interface Connection {
  readonly server: string;
  readonly ca?: string;
  readonly username?: string;
  readonly password?: string;
}

/** The gateway that the options name, else the one logged in to, else a running site of the dev cluster. */
export function openRegistry(options: ServerOptions): RegistryClient {
  return createRegistryClient(chooseConnection(options));
}

export function createRegistryClient(connection: Connection): RegistryClient {
  let token: string | undefined;
  const send = (path: string, call: { method?: string; json?: unknown; timeoutMs?: number }): Promise<HttpAnswer> =>
    sendRequest(new URL(path, connection.server), {
      method: call.method ?? "GET",
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(call.json === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(call.json === undefined ? {} : { body: JSON.stringify(call.json) }),
      ...(connection.ca === undefined ? {} : { ca: connection.ca }),
      timeoutMs: call.timeoutMs ?? 15_000,
    }).catch((error: unknown) => {
      throw failure(error instanceof Error ? error.message : String(error), { cause: error });
    });
  const authorised = (): Record<string, string> => (token === undefined ? {} : { authorization: `Bearer ${token}` });
  const streamed = (path: string, { method = "GET", headers, body }: StreamOptions): Promise<IncomingMessage> =>
    streamRequest(new URL(path, connection.server), {
      ...{ method, headers: { ...headers, ...authorised() } },
      ...(body === undefined ? {} : { body }),
      ...(connection.ca === undefined ? {} : { ca: connection.ca }),
    }).catch((error: unknown) => {
      throw failure(error instanceof Error ? error.message : String(error), { cause: error });
    });
  return {
    server: connection.server,
    async stream(path, options = {}) {
      // A body can be sent only once: the challenge is asked for without one.
      const probe: StreamOptions = options.body instanceof Readable ? {} : options;
      const first = await streamed(path, probe);
      const challenge = first.headers["www-authenticate"];
      if (first.statusCode === 401 && challenge !== undefined) token = await fetchToken(connection, challenge);
      else if (probe === options) return first;
      first.resume();
      return streamed(path, options);
    },
    ...(connection.ca === undefined ? {} : { ca: connection.ca }),
    at: (server) => createRegistryClient({ ...connection, server }),
    async call(path, call = {}) {
      let answer = await send(path, call);
      const challenge = answer.headers["www-authenticate"];
      if (answer.status === 401 && challenge !== undefined) {
        token = await fetchToken(connection, challenge);
        answer = await send(path, call);
      }
      if (answer.status === 401 || answer.status === 403)
        throw failure(`${connection.server}: ${describeError(answer)}`);
      return answer;
    },
  };
}

function chooseConnection(options: ServerOptions): Connection {
  const named = options.server ?? currentServer();
  const caFile = options.ca ?? process.env.MERIDIAN_CA;
  if (named !== undefined) {
    const server = originOf(named);
    const login = storedLogin(server);
    const ca = readCa(caFile ?? login?.ca);
    return {
      server,
      ...(ca === undefined ? devCa(server, options) : { ca }),
      ...(login === undefined ? devLogin(server, options) : { username: login.username, password: login.password }),
    };
  }
  const run = runningCluster(options);
  const site = run.sites.find((one) => one.state === "running");
  if (site === undefined)
    throw usageError("no site of the dev cluster runs: start one with `meridian site start <site>`");
  return { server: site.gateway, ...devCa(site.gateway, options), ...devLogin(site.gateway, options) };
}

/** The dev cluster's own trust, for its own gateways only. */
function devCa(server: string, options: ServerOptions): { ca?: string } {
  return isDevGateway(server, options) ? { ca: readFileSync(join(homeFolder(options), "ca.pem"), "utf8") } : {};
}

function devLogin(server: string, options: ServerOptions): { username?: string; password?: string } {
  if (!isDevGateway(server, options)) return {};
  return { username: "admin", password: readFileSync(join(homeFolder(options), "admin-password"), "utf8").trim() };
}

function isDevGateway(server: string, options: ServerOptions): boolean {
  try {
    return runningCluster(options).sites.some((site) => site.gateway === server);
  } catch {
    return false;
  }
}

function readCa(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw usageError(`the CA file ${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

/** "host:port" or a URL as an origin. @throws CommandError (exit code 2). */
export function originOf(server: string): string {
  try {
    const url = new URL(server.includes("://") ? server : `https://${server}`);
    if (url.protocol === "https:" || url.protocol === "http:") return url.origin;
  } catch {
    // Reported below, like every other scheme.
  }
  throw usageError(`"${server}" is not a server: host:port or https://host:port is wanted`);
}

/** Fetches a token as a Bearer challenge says (distribution's token specification). */
async function fetchToken(connection: Connection, challenge: string): Promise<string> {
  const parameter = (name: string): string | undefined => new RegExp(`[ ,]${name}="([^"]*)"`).exec(challenge)?.[1];
  const realm = parameter("realm");
  if (!challenge.startsWith("Bearer ") || realm === undefined)
    throw failure(`${connection.server} asks for an unknown kind of login`);
  const url = new URL(realm);
  if (url.origin !== new URL(connection.server).origin)
    throw failure(`${connection.server} sends its login to another server (${url.origin})`);
  url.searchParams.set("service", parameter("service") ?? "");
  for (const scope of parameter("scope")?.split(" ") ?? []) url.searchParams.append("scope", scope);
  const { username, password, ca } = connection;
  const answer = await sendRequest(url, {
    headers:
      username === undefined
        ? {}
        : { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}` },
    ...(ca === undefined ? {} : { ca }),
    timeoutMs: 15_000,
  });
  if (answer.status !== 200) throw failure(`login at ${connection.server} failed: ${describeError(answer)}`);
  const token = (JSON.parse(answer.text) as { token?: string }).token;
  if (token === undefined) throw failure(`${connection.server} answered a login without a token`);
  return token;
}

/** The first error of a registry's error body, in one line. */
export function describeError(answer: HttpAnswer): string {
  try {
    const first = (JSON.parse(answer.text) as { errors?: Array<{ code?: string; message?: string }> }).errors?.[0];
    if (first !== undefined) return `${first.code}: ${first.message} (${answer.status})`;
  } catch {
    // Not an error body: the status has to do.
  }
  return `status ${answer.status}`;
}
