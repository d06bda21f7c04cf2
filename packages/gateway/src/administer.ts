import type { Peers, ProcessAddress, SiteMonitor, Topology } from "@meridian/cluster";
import { ContentError, isContentError } from "@meridian/oci";
import type { Decider } from "@meridian/policy";
import type { ServiceClient } from "@meridian/rpc";
import type { Clock, Timers } from "@meridian/runtime";
import { authV1 } from "@meridian/wire";
import { type Access, bearerToken } from "./access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "./answer.ts";
import type { Exchange } from "./exchange.ts";
import { Refusal, unavailable } from "./refusal.ts";
import { waitUntil } from "./transient.ts";

/** What a request to the auth needs. */
export interface AdministrationParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly decider: Pick<Decider, "revision">;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** One question or change; `token` is the caller's. */
type Ask<T> = (auth: ServiceClient<typeof authV1.AuthService>, token: string) => Promise<T>;

/** The policy home and the way to it wait up to 8 s by themselves. Milliseconds. */
export const CHANGE_TIMEOUT_MS = 10_000;
/** How long an answer waits for this gateway to know of the change too, when another site's auth made it. */
const OWN_FOLD_WAIT_MS = 5_000;

/** Asks as {@link askAuth} does, and sends the answer. */
export async function administer<T extends { readonly revision: string }>(
  exchange: Exchange,
  parts: AdministrationParts,
  ask: Ask<T>,
): Promise<void> {
  const answer = await askAuth(exchange, parts, ask);
  sendJson(exchange, 200, [...parts.answers.fixed, "Cache-Control", CacheControl.never], answer);
}

/**
 * Asks this site's auth, or the nearest other one that answers. Whether the caller may is for the auth to say.
 * Resolves once this gateway knows of the revision answered.
 * @throws Refusal 403, 400, 404 or 409 in the auth's words, 503 when none answers.
 */
export async function askAuth<T extends { readonly revision: string }>(
  exchange: Exchange,
  parts: AdministrationParts,
  ask: Ask<T>,
): Promise<T> {
  await parts.access.admitAny(exchange);
  const token = bearerToken(exchange.header("authorization") ?? "") ?? "";
  let cause: unknown;
  for (const address of authProcesses(parts)) {
    try {
      const answer = await ask(parts.peers.client(authV1.AuthService, address), token);
      const isKnown = (): boolean => sequenceOf(parts.decider.revision) >= sequenceOf(answer.revision);
      await waitUntil(isKnown, { ...parts, waitMs: OWN_FOLD_WAIT_MS, signal: exchange.signal });
      return answer;
    } catch (error) {
      if (!isContentError(error, "unavailable")) throw refused(error, parts);
      // What this site's own auth says is wrong tells most.
      cause ??= error;
    }
  }
  throw unavailable(cause instanceof Error ? cause.message : "no auth of this cluster can be reached now", { cause });
}

function authProcesses({ peers, monitor, topology }: AdministrationParts): ProcessAddress[] {
  return [topology.site, ...monitor.ordered()].flatMap((site) => [...peers.processes("auth", site)]);
}

/** The entry's number in a policy revision, `<epoch>.<number>`: it only grows. */
function sequenceOf(revision: string): number {
  return Number(revision.slice(revision.indexOf(".") + 1));
}

function refused(error: unknown, { decider }: AdministrationParts): unknown {
  if (!(error instanceof ContentError)) return error;
  switch (error.kind) {
    case "denied":
      return new Refusal("DENIED", error.message, {
        headers: ["Meridian-Policy-Revision", decider.revision],
        cause: error,
      });
    case "invalid":
      return new Refusal("UNSUPPORTED", error.message, { status: 400, cause: error });
    case "not-found":
      return new Refusal("UNSUPPORTED", error.message, { status: 404, cause: error });
    case "conflict":
    case "precondition":
      return new Refusal("UNSUPPORTED", error.message, { status: 409, cause: error });
    default:
      return error;
  }
}
