import type { Clock } from "@meridian/runtime";
import type { TokenClaims, TokenVerifier } from "./decision.ts";
import { GenerationCache } from "./generation-cache.ts";
import { MAX_TOKEN_BYTES } from "./jwt.ts";
import type { Policy } from "./policy.ts";
import { checkToken, isActive, TOKEN_LEEWAY_S } from "./token-check.ts";

const DEFAULT_CACHED_TOKENS = 10_000;

interface SeenToken {
  readonly claims: TokenClaims;
  readonly keyId: string;
}

/** A verifier that answers without a promise, always. */
export interface SyncTokenVerifier extends TokenVerifier, Disposable {
  verify(token: string): TokenClaims | undefined;
}

/**
 * Checks access tokens of every site by the keys in the policy log. A token seen before costs one lookup by its own
 * string; it is forgotten when it expires, and at once when its key or user is revoked.
 */
export function createTokenVerifier(options: {
  policy: Pick<Policy, "state" | "subscribe">;
  /** The cluster's name. */
  audience: string;
  clock: Clock;
  /** How many tokens are remembered; 10 000 by default. */
  capacity?: number;
}): SyncTokenVerifier {
  const { policy, audience, clock } = options;
  const seen = new GenerationCache<string, SeenToken>(options.capacity ?? DEFAULT_CACHED_TOKENS);
  const subscription = policy.subscribe(() => {
    const { state } = policy;
    seen.deleteWhere(({ claims, keyId }) => !state.keys.has(keyId) || !isActive(state, claims.principal.name ?? ""));
  });
  const inTime = (claims: TokenClaims): boolean => claims.expiresAt + TOKEN_LEEWAY_S > clock.now() / 1000;

  return {
    verify(token) {
      const known = seen.get(token);
      if (known) {
        if (inTime(known.claims)) return known.claims;
        seen.delete(token);
        return undefined;
      }
      if (token.length > MAX_TOKEN_BYTES) return undefined;
      const checked = checkToken(token, { type: "JWT", state: policy.state, audience, nowMs: clock.now() });
      if (!checked) return undefined;
      const claims: TokenClaims = {
        principal: { name: checked.subject === "" ? undefined : checked.subject },
        scopes: scopesOf(checked.jwt.payload.access),
        expiresAt: checked.expiresAt,
      };
      seen.set(token, { claims, keyId: checked.jwt.keyId });
      return claims;
    },
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  };
}

/** Reads the `access` claim; what it does not understand is left out. */
function scopesOf(access: unknown): ReadonlyMap<string, ReadonlySet<string>> {
  const scopes = new Map<string, Set<string>>();
  for (const item of Array.isArray(access) ? (access as unknown[]) : []) {
    if (typeof item !== "object" || item === null) continue;
    const { type, name, actions } = item as { type?: unknown; name?: unknown; actions?: unknown };
    if (typeof name !== "string" || !Array.isArray(actions)) continue;
    if (type !== "repository" && type !== "registry") continue;
    const key = type === "registry" ? `registry:${name}` : name;
    const held = scopes.get(key) ?? new Set();
    for (const action of actions as unknown[]) if (typeof action === "string") held.add(action);
    scopes.set(key, held);
  }
  return scopes;
}
