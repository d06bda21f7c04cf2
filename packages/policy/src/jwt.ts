import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";

/** A longer token is not looked at. */
export const MAX_TOKEN_BYTES = 16 * 1024;

/** Kinds of tokens, told apart by the header's `typ`: one kind is never taken for the other (RFC 8725 §3.11). */
export type TokenType = "JWT" | "refresh+jwt";

/** A token taken apart, not yet verified. */
export interface DecodedJwt {
  readonly type: string;
  readonly keyId: string;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly signedPart: string;
  readonly signature: Uint8Array;
}

const PART = /^[A-Za-z0-9_-]+$/;

/** Makes a JWS in compact form with EdDSA over Ed25519 (RFC 7515, RFC 8037). */
export function signJwt(options: {
  type: TokenType;
  keyId: string;
  payload: Readonly<Record<string, unknown>>;
  privateKey: KeyObject;
}): string {
  const header = { alg: "EdDSA", typ: options.type, kid: options.keyId };
  const signedPart = `${encode(header)}.${encode(options.payload)}`;
  const signature = sign(null, Buffer.from(signedPart), options.privateKey);
  return `${signedPart}.${signature.toString("base64url")}`;
}

/** Undefined when it is not a compact JWS with EdDSA, or is too long. */
export function decodeJwt(token: string): DecodedJwt | undefined {
  if (token.length > MAX_TOKEN_BYTES) return undefined;
  const parts = token.split(".");
  const [header64, payload64, signature64] = parts;
  if (parts.length !== 3 || !header64 || !payload64 || !signature64 || !parts.every((part) => PART.test(part)))
    return undefined;
  const header = decode(header64);
  const payload = decode(payload64);
  if (!header || !payload || header.alg !== "EdDSA" || header.crit !== undefined) return undefined;
  if (typeof header.typ !== "string" || typeof header.kid !== "string") return undefined;
  return {
    type: header.typ,
    keyId: header.kid,
    payload,
    signedPart: `${header64}.${payload64}`,
    signature: Buffer.from(signature64, "base64url"),
  };
}

/** True when the key made the signature. */
export function isSignedBy(jwt: DecodedJwt, publicKey: KeyObject): boolean {
  return verify(null, Buffer.from(jwt.signedPart), publicKey, jwt.signature);
}

/** A key object for 32 raw bytes of an Ed25519 public key; undefined when they are none. */
export function publicKeyFromRaw(raw: Uint8Array): KeyObject | undefined {
  if (raw.length !== 32) return undefined;
  const x = Buffer.from(raw).toString("base64url");
  try {
    return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  } catch {
    return undefined;
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function decode(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString());
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
