import type { Peers, ProcessAddress, SiteMonitor, Topology } from "@meridian/cluster";
import { ContentError, isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { authV1 } from "@meridian/wire";
import { CacheControl, sendJson } from "../answer.ts";
import { badCredentials, basicCredentials, type Credentials } from "../basic-credentials.ts";
import type { ClientOrigin } from "../client-origin.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { parseQuery } from "../query.ts";
import { Refusal, unavailable } from "../refusal.ts";
import { readBody } from "../request-body.ts";
import type { RequestLimits } from "../request-limits.ts";

interface TokenParts {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly clients: ClientOrigin;
  readonly requestLimits: RequestLimits;
  /** How long to look for a live auth, in milliseconds. */
  readonly tokenWaitMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** What a client asks for, in either of the protocol's forms. */
interface TokenQuestion {
  readonly credentials?: Credentials;
  readonly refreshToken: string;
  readonly service: string;
  readonly scopes: string[];
  readonly offlineToken: boolean;
}

const MAX_FORM = 64 * 1024;
const MAX_SCOPES = 100;
const ATTEMPT_MS = 2_500;
const PAUSE_MS = 100;

/**
 * `/token`: GET with Basic credentials, or POST of a form (distribution's token protocol, "Token Authentication
 * Specification" and "Oauth2 Token Authentication"), passed on to a live auth: this site's first, then the others'.
 */
export function tokenRoute(parts: TokenParts): ResourceHandlers {
  return {
    GET: async (exchange) => {
      await parts.requestLimits.ofToken(exchange);
      await answer(exchange, questionOfQuery(exchange), parts);
    },
    POST: async (exchange) => {
      await parts.requestLimits.ofToken(exchange);
      const form = parseForm(await readBody(exchange, MAX_FORM), exchange.header("content-type"));
      await answer(exchange, questionOfForm(form), parts);
    },
  };
}

function questionOfQuery(exchange: Exchange): TokenQuestion {
  const query = parseQuery(exchange.query);
  return {
    credentials: basicCredentials(exchange.header("authorization")),
    refreshToken: "",
    service: query.get("service") ?? "",
    scopes: scopesOf(query),
    offlineToken: query.get("offline_token") === "true",
  };
}

function parseForm(body: Buffer, contentType: string | undefined): URLSearchParams {
  const type = contentType?.split(";", 1)[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") {
    throw new Refusal("UNSUPPORTED", "a token is asked for by a form (application/x-www-form-urlencoded)", {
      status: 400,
    });
  }
  return new URLSearchParams(body.toString("utf8"));
}

function questionOfForm(form: URLSearchParams): TokenQuestion {
  const asked = {
    service: form.get("service") ?? "",
    scopes: scopesOf(form),
    offlineToken: form.get("access_type") === "offline",
  };
  switch (form.get("grant_type")) {
    case "password":
      return {
        ...asked,
        refreshToken: "",
        credentials: { username: form.get("username") ?? "", password: form.get("password") ?? "" },
      };
    case "refresh_token": {
      const refreshToken = form.get("refresh_token") ?? "";
      if (refreshToken === "") throw new Refusal("UNAUTHORIZED", "the refresh token is missing");
      return { ...asked, refreshToken };
    }
    default:
      throw new Refusal("UNSUPPORTED", "grant_type must be password or refresh_token", { status: 400 });
  }
}

function scopesOf(parameters: URLSearchParams): string[] {
  const scopes = parameters
    .getAll("scope")
    .flatMap((scope) => scope.split(" "))
    .filter((scope) => scope !== "");
  if (scopes.length > MAX_SCOPES) throw new Refusal("UNSUPPORTED", `more than ${MAX_SCOPES} scopes`, { status: 400 });
  return scopes;
}

async function answer(exchange: Exchange, question: TokenQuestion, parts: TokenParts): Promise<void> {
  const issued = await issue({ ...question, clientAddress: parts.clients.address(exchange) }, parts);
  sendJson(exchange, 200, ["Cache-Control", CacheControl.never, "Meridian-Site", parts.topology.site], {
    token: issued.token,
    access_token: issued.token,
    expires_in: issued.expiresIn,
    ...(issued.refreshToken === "" ? {} : { refresh_token: issued.refreshToken }),
  });
}

/** Asks one auth after the other, round after round, until one answers or the time is over. */
async function issue(
  question: TokenQuestion & { readonly clientAddress: string },
  parts: TokenParts,
): Promise<authV1.IssueTokenResponse> {
  const { peers, clock, timers, log, tokenWaitMs } = parts;
  const deadline = clock.monotonic() + tokenWaitMs;
  let cause: unknown;
  for (;;) {
    for (const address of authProcesses(parts)) {
      const left = deadline - clock.monotonic();
      if (left <= 0) break;
      try {
        const timeoutMs = Math.min(left, ATTEMPT_MS);
        return await peers.client(authV1.AuthService, address).issueToken(question, { timeoutMs });
      } catch (error) {
        if (!(error instanceof ContentError) || !error.retryable) throw refused(error);
        log.debug("an auth could not issue a token", { site: address.site, process: address.process, error });
        cause = error;
      }
    }
    if (clock.monotonic() + PAUSE_MS >= deadline)
      throw unavailable("no auth of this cluster can be reached now", { cause });
    await timers.sleep(PAUSE_MS);
  }
}

/** This site's first, then the others', nearest first. */
function authProcesses({ peers, monitor, topology }: TokenParts): ProcessAddress[] {
  return [topology.site, ...monitor.ordered()].flatMap((site) => [...peers.processes("auth", site)]);
}

function refused(error: unknown): unknown {
  if (isContentError(error, "denied")) return badCredentials(error.message, error);
  if (isContentError(error, "invalid")) return new Refusal("UNSUPPORTED", error.message, { status: 400, cause: error });
  return error;
}
