import type { KeyObject } from "node:crypto";
import type { Clock, Random } from "@meridian/runtime";
import { signJwt } from "./jwt.ts";
import { issuerOf } from "./token-check.ts";

/** One element of the `access` claim, as Docker's token specification writes it. */
export interface AccessItem {
  readonly type: string;
  readonly name: string;
  readonly actions: readonly string[];
}

/** Makes tokens with one site's key. */
export interface TokenSigner {
  readonly keyId: string;
  /**
   * An access token. `subject` is empty for an anonymous one. Whoever asks for the same again within the same second of
   * the clock gets the same token: another would differ in nothing but its id.
   */
  access(token: { subject: string; access: readonly AccessItem[]; lifetimeS: number }): string;
  /** A refresh token, bound to the user's password by `fingerprint`. */
  refresh(token: { subject: string; fingerprint: string; lifetimeS: number }): string;
}

/** Tokens of one second that are given again, at most. */
const MAX_RECENT = 1_000;

/** Sign only once the key is effective in the policy log. */
export function createTokenSigner(options: {
  privateKey: KeyObject;
  keyId: string;
  site: string;
  /** The cluster's name. */
  audience: string;
  clock: Clock;
  random: Random;
}): TokenSigner {
  const { privateKey, keyId, clock, random } = options;
  const registered = (subject: string, lifetimeS: number): Record<string, unknown> => {
    const now = Math.floor(clock.now() / 1000);
    const jti = Buffer.from(random.bytes(16)).toString("base64url");
    return {
      iss: issuerOf(options.site),
      sub: subject,
      aud: options.audience,
      iat: now,
      nbf: now,
      exp: now + lifetimeS,
      jti,
    };
  };
  const recent = new Map<string, string>();
  let second = Number.NaN;
  const again = (question: string): string | undefined => {
    const now = Math.floor(clock.now() / 1000);
    if (now !== second) recent.clear();
    second = now;
    return recent.get(question);
  };
  return {
    keyId,
    access({ subject, access, lifetimeS }) {
      const question = JSON.stringify([subject, lifetimeS, access]);
      const known = again(question);
      if (known !== undefined) return known;
      const payload = { ...registered(subject, lifetimeS), access };
      const token = signJwt({ type: "JWT", keyId, privateKey, payload });
      if (recent.size < MAX_RECENT) recent.set(question, token);
      return token;
    },
    refresh: ({ subject, fingerprint, lifetimeS }) =>
      signJwt({
        type: "refresh+jwt",
        keyId,
        privateKey,
        payload: { ...registered(subject, lifetimeS), pwf: fingerprint },
      }),
  };
}
