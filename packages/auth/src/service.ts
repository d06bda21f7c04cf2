import { join } from "node:path";
import { CredentialCache, createLocalStore, type LimitStore, LoginThrottle } from "@meridian/limits";
import { createTokenVerifier, type Policy } from "@meridian/policy";
import type { RpcServer, ServiceImpl } from "@meridian/rpc";
import type { Clock, HealthCheck, Logger, PeerIdentity, Random, Timers } from "@meridian/runtime";
import { authV1, policyV1 } from "@meridian/wire";
import type { AdministrationParts } from "./administrator.ts";
import type { AuthConfig } from "./config.ts";
import { CredentialChecker } from "./credential-checker.ts";
import { type IssueTokenParts, issueToken } from "./issue-token.ts";
import { listRepositorySettings } from "./list-repository-settings.ts";
import { listUsers } from "./list-users.ts";
import { Preparation } from "./preparation.ts";
import { putGrant } from "./put-grant.ts";
import { putMember } from "./put-member.ts";
import { putRepositorySettings } from "./put-repository-settings.ts";
import { putUser } from "./put-user.ts";
import { removeUser } from "./remove-user.ts";
import { SigningKeyKeeper } from "./signing-key-keeper.ts";

/** What the auth service takes from its process. */
export interface AuthDeps {
  /** The site's policy replica. */
  readonly policy: Policy;
  /** Where its services are offered; it must not listen yet. */
  readonly rpc: Pick<RpcServer, "register">;
  /** What logins are counted and remembered in; absent: in this process alone. */
  readonly limits?: LimitStore;
  /** Seals what is remembered; the same in all processes that share `limits`. Absent: one that only this process has. */
  readonly credentialKey?: Uint8Array;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
}

/** A running auth service. Dispose it before the policy and the RPC server. */
export interface Auth extends AsyncDisposable {
  readonly checks: readonly HealthCheck[];
}

/** Whose gateways may ask for tokens, and whose auth processes may tail the policy log. */
const TOKEN_CALLERS: ReadonlySet<string> = new Set(["gateway", "auth", "site"]);
const LOG_CALLERS: ReadonlySet<string> = new Set(["auth", "site"]);

/**
 * Starts the auth service: offers AuthService and PolicyLogService, and goes on in the background to make the first
 * administrator (at the policy home) and this site's signing key effective. Resolves before that: see `checks`.
 * @throws ContentError `invalid` when the signing key's file is no key; errors of the file system as they are.
 */
export async function startAuth(config: AuthConfig, deps: AuthDeps): Promise<Auth> {
  const { policy, rpc, timers, log } = deps;
  const folder = join(config.dataDir, "auth");
  const keys = await SigningKeyKeeper.open({ ...deps, folder, cluster: config.cluster });
  const adminPasswordHash = config.bootstrap?.adminPasswordHash;
  const preparation = new Preparation({ policy, keys, adminPasswordHash, timers, log });
  const verifier = createTokenVerifier({ policy, audience: config.cluster, clock: deps.clock });
  const credentials = createCredentials(config, deps);

  const isOneOf = (callers: ReadonlySet<string>) => (peer: PeerIdentity) =>
    policy.members.includes(peer.site) && callers.has(peer.service);
  const tokens: IssueTokenParts = { ...deps, config, credentials, signer: () => keys.signer };
  rpc.register(authV1.AuthService, authService(tokens, { policy, verifier, log, clock: deps.clock }), {
    allow: isOneOf(TOKEN_CALLERS),
  });
  // A site that is no member yet asks for the log and is refused there: so the home knows that it is up.
  const mayCall = (peer: PeerIdentity, method: string): boolean =>
    LOG_CALLERS.has(peer.service) && (method === "tail" || policy.members.includes(peer.site));
  if (policy.service) rpc.register(policyV1.PolicyLogService, policy.service, { allow: mayCall });

  const stop = new AbortController();
  const running = preparation.run(stop.signal);
  return {
    checks: [{ name: "auth", check: () => check(preparation) }],
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
      verifier[Symbol.dispose]();
    },
  };
}

function createCredentials({ logins }: AuthConfig, deps: AuthDeps): CredentialChecker {
  const { policy, clock, timers, random, limits: store = createLocalStore({ clock }) } = deps;
  const key = deps.credentialKey ?? random.bytes(32);
  return new CredentialChecker({
    users: () => policy.state.users,
    throttle: new LoginThrottle({ store, rules: logins, clock }),
    cache: new CredentialCache({ store, key, ttlMs: logins.rememberMs, clock }),
    timers,
  });
}

function authService(
  tokens: IssueTokenParts,
  parts: AdministrationParts & { readonly clock: Clock },
): ServiceImpl<typeof authV1.AuthService> {
  return {
    issueToken: (request, context) => issueToken(request, context, tokens),
    putUser: (request, context) => putUser(request, context, parts),
    removeUser: (request, context) => removeUser(request, context, parts),
    putGrant: (request, context) => putGrant(request, context, parts),
    listUsers: (request) => listUsers(request, parts),
    putRepositorySettings: (request, context) => putRepositorySettings(request, context, parts),
    putMember: (request, context) => putMember(request, context, parts),
    listRepositorySettings: (request) => listRepositorySettings(request, parts),
  };
}

async function check(preparation: Preparation): Promise<void> {
  if (preparation.obstacle) throw new Error(preparation.obstacle);
}
