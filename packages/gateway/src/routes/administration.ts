import type { Peers, ProcessAddress, SiteMonitor, Topology } from "@meridian/cluster";
import { ContentError, isContentError } from "@meridian/oci";
import type { Decider } from "@meridian/policy";
import type { ServiceClient } from "@meridian/rpc";
import type { Clock, Timers } from "@meridian/runtime";
import { authV1 } from "@meridian/wire";
import { z } from "zod";
import { type Access, bearerToken } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";
import { Refusal, unavailable } from "../refusal.ts";
import { waitUntil } from "../transient.ts";

interface AdministrationParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly decider: Pick<Decider, "revision">;
  readonly clock: Clock;
  readonly timers: Timers;
}

type AuthClient = ServiceClient<typeof authV1.AuthService>;
type Ask = (auth: AuthClient, token: string) => Promise<{ readonly revision: string }>;

/** Absent fields stay as they are. */
const userSchema = z.strictObject({
  password: z.string().min(8).max(1024).optional(),
  disabled: z.boolean().optional(),
});
const grantSchema = z.strictObject({
  /** A user's name, or "*" for everybody, with login or without. */
  principal: z.string().min(1).max(255),
  /** Empty for every repository. */
  repositoryPrefix: z.string().max(255),
  /** Empty takes the grant away. */
  role: z.enum(["pull", "push", "admin", ""]),
});

/** `GET /v2/_meridian/users`: users and what they may do. */
export function usersRoute(parts: AdministrationParts): ResourceHandlers {
  return {
    GET: (exchange) =>
      administer(exchange, parts, async (auth, token) => {
        const { users, revision } = await auth.listUsers({ token });
        return {
          revision,
          users: users.map(({ name, disabled, grants }) => ({
            name,
            disabled,
            grants: grants.map(({ repositoryPrefix, role }) => ({ repositoryPrefix, role })),
          })),
        };
      }),
  };
}

/** `PUT|DELETE /v2/_meridian/users/<name>`: answered once the change is effective, with the policy's revision. */
export function userRoute(parts: AdministrationParts): ResourceHandlers {
  return {
    PUT: async (exchange, { reference: name }) => {
      const { password, disabled } = await readJson(exchange, userSchema);
      await administer(exchange, parts, (auth, token) =>
        auth
          .putUser(
            { token, name, password: password ?? "", disabled: disabled ?? false },
            { timeoutMs: CHANGE_TIMEOUT_MS },
          )
          .then(revisionOnly),
      );
    },
    DELETE: (exchange, { reference: name }) =>
      administer(exchange, parts, (auth, token) =>
        auth.removeUser({ token, name }, { timeoutMs: CHANGE_TIMEOUT_MS }).then(revisionOnly),
      ),
  };
}

/** `PUT /v2/_meridian/grants`: gives a role on a repository prefix, or takes it away. */
export function grantsRoute(parts: AdministrationParts): ResourceHandlers {
  return {
    PUT: async (exchange) => {
      const grant = await readJson(exchange, grantSchema);
      await administer(exchange, parts, (auth, token) =>
        auth.putGrant({ token, ...grant }, { timeoutMs: CHANGE_TIMEOUT_MS }).then(revisionOnly),
      );
    },
  };
}

/** The policy home and the way to it wait up to 8 s by themselves. */
const CHANGE_TIMEOUT_MS = 10_000;
/** How long an answer waits for this gateway to know of the change too, when another site's auth made it. */
const OWN_FOLD_WAIT_MS = 5_000;

function revisionOnly({ revision }: { readonly revision: string }): { revision: string } {
  return { revision };
}

/** Asks this site's auth, or the nearest other one that answers. Whether the caller may is for the auth to say. */
async function administer(exchange: Exchange, parts: AdministrationParts, ask: Ask): Promise<void> {
  await parts.access.admitAny(exchange);
  const token = bearerToken(exchange.header("authorization") ?? "") ?? "";
  let cause: unknown;
  for (const address of authProcesses(parts)) {
    try {
      const answer = await ask(parts.peers.client(authV1.AuthService, address), token);
      const isKnown = (): boolean => sequenceOf(parts.decider.revision) >= sequenceOf(answer.revision);
      await waitUntil(isKnown, { ...parts, waitMs: OWN_FOLD_WAIT_MS, signal: exchange.signal });
      sendJson(exchange, 200, [...parts.answers.fixed, "Cache-Control", CacheControl.never], answer);
      return;
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
