import {
  type Action,
  type Decider,
  type Decision,
  type PlacementSettings,
  type Principal,
  placementAt,
  type Resource,
  type TokenClaims,
  type TokenVerifier,
} from "@meridian/policy";
import type { ClientOrigin } from "./client-origin.ts";
import type { Exchange, HeaderList } from "./exchange.ts";
import { Refusal, unavailable } from "./refusal.ts";
import type { RequestLimits } from "./request-limits.ts";
import { step } from "./tracing.ts";

/** What a request needs to be allowed. */
export interface Need {
  readonly resource: Resource;
  readonly action: Action;
}

/** Who may do what, asked at every request. */
export interface Access {
  /**
   * The principal of the request, once token and policy allow all needs. Synchronous for a token seen before.
   * @throws Refusal 401 with the challenge that names all scopes, 403 naming the policy that forbids, 503 when the policy is too old to decide by.
   */
  admit(exchange: Exchange, ...needs: readonly Need[]): Principal | Promise<Principal>;
  /** Like {@link Access.admit} for the registry as such: any valid token will do, and only a dev cluster lets in without. */
  admitAny(exchange: Exchange): Principal | Promise<Principal>;
  /** What the policy alone says. */
  decide(exchange: Exchange, principal: Principal, need: Need): Decision;
}

/** What {@link createAccess} needs. */
export interface AccessOptions {
  readonly anonymous: "none" | "pull" | "admin";
  readonly maxPolicyAgeMs: number;
  readonly cluster: string;
  readonly site: string;
  readonly decider: Decider;
  /** What the policy sets for repositories: some may be kept from this site. */
  readonly settings: Pick<PlacementSettings, "of">;
  readonly verifier: TokenVerifier;
  readonly clients: ClientOrigin;
  readonly requestLimits: RequestLimits;
}

const NOBODY: Principal = { name: undefined };
const SUPERUSER: Principal = { name: undefined, superuser: true };

/** A need on a repository. */
export function repositoryNeed(name: string, action: Action): Need {
  return { resource: { kind: "repository", name }, action };
}

/** A request's credentials: absent, or a token's content. */
type Credentials = TokenClaims | undefined;

export function createAccess(options: AccessOptions): Access {
  const { anonymous, verifier, decider, requestLimits } = options;
  const keptFrom = createKeptFrom(options);
  const challenge = createChallenge(options);
  const tokenOf = rememberTokens();

  const decide = (exchange: Exchange, principal: Principal, { resource, action }: Need): Decision => {
    if (decider.ageMs() > options.maxPolicyAgeMs) {
      throw unavailable("this site has been cut off from the policy for too long to decide by it", {
        headers: ["Meridian-Policy-Revision", decider.revision],
      });
    }
    return decider.decide(principal, action, resource, {
      site: options.site,
      clientAddress: options.clients.address(exchange),
    });
  };

  const credentialsOf = (exchange: Exchange, needs: readonly Need[]): Credentials | Promise<Credentials> => {
    const header = exchange.header("authorization");
    if (header === undefined) return undefined;
    const token = tokenOf(header);
    if (token === undefined) throw challenge(exchange, needs, undefined);
    const claims = verifier.verify(token);
    if (claims instanceof Promise) return claims.then((checked) => checked ?? refuseToken(exchange, needs));
    return claims ?? refuseToken(exchange, needs);
  };

  // Names the scopes, too: a client whose token has expired asks for a new one with just what it is told here.
  const refuseToken = (exchange: Exchange, needs: readonly Need[]): never => {
    requestLimits.ofPrincipal(exchange, undefined);
    throw challenge(exchange, needs, "invalid_token");
  };

  const judge = (exchange: Exchange, claims: Credentials, needs: readonly Need[]): Principal => {
    const principal = claims?.principal ?? NOBODY;
    requestLimits.ofPrincipal(exchange, principal);
    for (const need of needs) {
      if (anonymous === "pull" && need.action === "pull") {
        requireResident(need);
        continue;
      }
      if (claims === undefined) throw challenge(exchange, needs, undefined);
      const decision = decide(exchange, principal, need);
      if (!decision.allow && principal.name !== undefined) throw forbidden(need, decision);
      if (!decision.allow || !covers(claims, need)) throw challenge(exchange, needs, "insufficient_scope");
      requireResident(need);
    }
    return principal;
  };

  const requireResident = (need: Need): void => {
    const kept = keptFrom(need);
    if (kept !== undefined) throw residency(need, kept, options.site);
  };

  const whenKnown = (
    exchange: Exchange,
    needs: readonly Need[],
    then: (claims: Credentials) => Principal,
  ): Principal | Promise<Principal> => {
    const claims = exchange.traced
      ? step(exchange, "auth.verify", () => credentialsOf(exchange, needs))
      : credentialsOf(exchange, needs);
    return claims instanceof Promise ? claims.then(then) : then(claims);
  };

  return {
    admit(exchange, ...needs) {
      if (anonymous === "admin") {
        needs.forEach(requireResident);
        return SUPERUSER;
      }
      return whenKnown(exchange, needs, (claims) =>
        exchange.traced
          ? step(exchange, "policy.decide", () => judge(exchange, claims, needs))
          : judge(exchange, claims, needs),
      );
    },
    admitAny(exchange) {
      if (anonymous === "admin") return SUPERUSER;
      return whenKnown(exchange, [], (claims) => {
        requestLimits.ofPrincipal(exchange, claims?.principal);
        if (claims === undefined) throw challenge(exchange, [], undefined);
        return claims.principal;
      });
    },
    decide(exchange, principal, need) {
      const kept = keptFrom(need);
      if (kept !== undefined) return kept;
      if (anonymous === "pull" && need.action === "pull") {
        return { allow: true, policyId: "anonymous-pull", revision: decider.revision };
      }
      return decide(exchange, principal, need);
    },
  };
}

/** The token of a Bearer header (RFC 6750 §2.1); undefined for any other scheme. */
export function bearerToken(header: string): string | undefined {
  if (header.startsWith("Bearer ") || header.slice(0, 7).toLowerCase() === "bearer ") return header.slice(7).trim();
  return undefined;
}

const REMEMBERED_HEADERS = 1_024;
const MAX_REMEMBERED_LENGTH = 4 * 1024;

/**
 * {@link bearerToken} that gives the same string for the same header again: a connection's requests share theirs, and a
 * string that is new each time would be hashed each time by the verifier's cache.
 */
function rememberTokens(): typeof bearerToken {
  const known = new Map<string, string>();
  return (header) => {
    const before = known.get(header);
    if (before !== undefined) return before;
    const token = bearerToken(header);
    if (token === undefined || header.length > MAX_REMEMBERED_LENGTH) return token;
    if (known.size >= REMEMBERED_HEADERS) known.clear();
    known.set(header, token);
    return token;
  };
}

function covers(claims: TokenClaims, { resource, action }: Need): boolean {
  const granted = claims.scopes.get(resource.kind === "repository" ? resource.name : "registry:catalog");
  return granted !== undefined && (granted.has(action) || granted.has("*"));
}

function forbidden({ resource, action }: Need, decision: Decision): Refusal {
  const on = resource.kind === "repository" ? `repository ${resource.name}` : "this registry";
  return new Refusal("DENIED", `the policy does not allow ${action} on ${on}`, {
    detail: { action, policyId: decision.policyId, policyRevision: decision.revision },
    headers: ["Meridian-Policy-Revision", decision.revision],
  });
}

/** The decision that keeps a repository from this site, whoever asks; undefined where it is not kept from it. */
function createKeptFrom({ settings, site, decider }: AccessOptions): (need: Need) => Decision | undefined {
  return ({ resource }) => {
    if (resource.kind !== "repository") return undefined;
    const inForce = settings.of(resource.name);
    if (inForce.placement === undefined || placementAt(inForce, site) !== "never") return undefined;
    return { allow: false, policyId: `placement/${inForce.placement.prefix}`, revision: decider.revision };
  };
}

function residency({ resource, action }: Need, decision: Decision, site: string): Refusal {
  const name = resource.kind === "repository" ? resource.name : "";
  return new Refusal("DENIED", `repository ${name} is kept from site ${site}: ask another site`, {
    detail: { action, site, policyId: decision.policyId, policyRevision: decision.revision },
    headers: ["Meridian-Policy-Revision", decision.revision],
  });
}

type ChallengeError = "invalid_token" | "insufficient_scope";
type Challenge = (exchange: Exchange, needs: readonly Need[], error: ChallengeError | undefined) => Refusal;

const MESSAGES: Readonly<Record<ChallengeError, string>> = {
  invalid_token: "the token is not valid, or not any more: get a new one",
  insufficient_scope: "the token does not carry what this request needs",
};

/** Makes the 401 that sends a client to the token endpoint of the very address that it uses (RFC 6750 §3). */
function createChallenge({ cluster, clients, decider }: AccessOptions): Challenge {
  return (exchange, needs, error) => {
    const scope = scopesOf(needs);
    const parts = [`realm="${clients.origin(exchange)}/token"`, `service="${cluster}"`];
    if (scope !== "") parts.push(`scope="${scope}"`);
    if (error !== undefined) parts.push(`error="${error}"`);
    const headers: HeaderList = [
      "WWW-Authenticate",
      `Bearer ${parts.join(",")}`,
      "Meridian-Policy-Revision",
      decider.revision,
    ];
    const message = error === undefined ? "log in first" : MESSAGES[error];
    return new Refusal("UNAUTHORIZED", message, { headers, detail: { scope, policyRevision: decider.revision } });
  };
}

/** Scopes in the token protocol's words; a push asks for pull too, as every client does. */
function scopesOf(needs: readonly Need[]): string {
  return needs
    .map(({ resource, action }) => {
      if (resource.kind === "registry") return "registry:catalog:*";
      return `repository:${resource.name}:${action === "push" ? "pull,push" : action}`;
    })
    .join(" ");
}
