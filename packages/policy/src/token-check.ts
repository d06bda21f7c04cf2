import type { KeyObject } from "node:crypto";
import type { policyV1 } from "@meridian/wire";
import { type DecodedJwt, decodeJwt, isSignedBy, publicKeyFromRaw, type TokenType } from "./jwt.ts";
import type { PolicyState } from "./state.ts";

/** How far the clocks of sites may be apart, in seconds. */
export const TOKEN_LEEWAY_S = 60;

/** The issuer claim of a site. */
export const issuerOf = (site: string): string => `meridian/${site}`;

const keyObjects = new WeakMap<policyV1.SigningKey, KeyObject>();

/** A token that was signed by a key of the policy log, is of the right kind, for this cluster, and in time. */
export interface CheckedToken {
  readonly jwt: DecodedJwt;
  /** Empty for an anonymous token. */
  readonly subject: string;
  /** Seconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** Undefined when the token is not valid, or its user is gone or disabled. */
export function checkToken(
  token: string,
  options: { type: TokenType; state: PolicyState; audience: string; nowMs: number },
): CheckedToken | undefined {
  const jwt = decodeJwt(token);
  if (!jwt || jwt.type !== options.type) return undefined;
  const key = options.state.keys.get(jwt.keyId);
  const keyObject = key && keyObjectOf(key);
  if (!keyObject || !isSignedBy(jwt, keyObject)) return undefined;
  const { iss, aud, sub, exp, nbf } = jwt.payload;
  if (iss !== issuerOf(key.site) || aud !== options.audience || typeof sub !== "string") return undefined;
  const now = options.nowMs / 1000;
  if (typeof exp !== "number" || exp + TOKEN_LEEWAY_S <= now) return undefined;
  if (nbf !== undefined && (typeof nbf !== "number" || nbf - TOKEN_LEEWAY_S > now)) return undefined;
  if (!isActive(options.state, sub)) return undefined;
  return { jwt, subject: sub, expiresAt: exp };
}

/** True for the anonymous subject, and for users that exist and are not disabled. */
export function isActive(state: PolicyState, subject: string): boolean {
  return subject === "" || state.users.get(subject)?.disabled === false;
}

function keyObjectOf(key: policyV1.SigningKey): KeyObject | undefined {
  let object = keyObjects.get(key);
  if (!object) {
    object = publicKeyFromRaw(key.publicKey);
    if (object) keyObjects.set(key, object);
  }
  return object;
}
