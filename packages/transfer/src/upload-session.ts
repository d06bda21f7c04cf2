import { createHmac, timingSafeEqual } from "node:crypto";

/** What the `Location` of an upload carries, so that any gateway of the site can go on with it. */
export interface UploadSession {
  /** Site where the bytes land. */
  readonly site: string;
  /** Process names of the blob nodes there that take the bytes, each all of them; seven at most. */
  readonly nodes: readonly string[];
  /** Id of the upload at that node. */
  readonly id: string;
  /** Repository that the upload belongs to. */
  readonly repository: string;
}

const VERSION = 1;
const MAC_BYTES = 32;
/** `nodes` are joined by commas, which no name has. */
const FIELDS = ["site", "nodes", "id", "repository"] as const;
const MAX_TOKEN_CHARS = Math.ceil(((1 + FIELDS.length * 256 + MAC_BYTES) * 4) / 3);

/**
 * Signs a session as base64url (RFC 4648 §5, no padding): one path segment that no client re-encodes.
 *
 *     version(1) | for each field: length(1) utf-8 | HMAC-SHA256(32) over all before
 *
 * @throws RangeError when a field is empty or longer than 255 bytes.
 */
export function sealUploadSession(key: Uint8Array, session: UploadSession): string {
  const parts: Uint8Array[] = [Uint8Array.of(VERSION)];
  for (const field of FIELDS) {
    const value = field === "nodes" ? session.nodes.join(",") : session[field];
    const text = Buffer.from(value, "utf8");
    if (text.length === 0 || text.length > 255) throw new RangeError(`upload session: ${field} must be 1 to 255 bytes`);
    parts.push(Uint8Array.of(text.length), text);
  }
  const payload = Buffer.concat(parts);
  return Buffer.concat([payload, macOf(key, payload)]).toString("base64url");
}

/** The session of a token that this key signed; undefined for anything else. */
export function openUploadSession(key: Uint8Array, token: string): UploadSession | undefined {
  const split = splitToken(token);
  if (split === undefined || !timingSafeEqual(macOf(key, split.payload), split.mac)) return undefined;
  return readFields(split.payload);
}

/** The site that a token names, its signature not checked: only good for choosing whom to ask. Undefined when it is no token. */
export function peekUploadSite(token: string): string | undefined {
  const split = splitToken(token);
  return split && readFields(split.payload)?.site;
}

function macOf(key: Uint8Array, payload: Uint8Array): Buffer {
  return createHmac("sha256", key).update(payload).digest();
}

function splitToken(token: string): { payload: Buffer; mac: Buffer } | undefined {
  if (token.length > MAX_TOKEN_CHARS) return undefined;
  const bytes = Buffer.from(token, "base64url");
  // Decoding skips what is not base64url: only the one canonical text of a token counts.
  if (bytes.length <= MAC_BYTES || bytes.toString("base64url") !== token) return undefined;
  return { payload: bytes.subarray(0, -MAC_BYTES), mac: bytes.subarray(-MAC_BYTES) };
}

function readFields(payload: Buffer): UploadSession | undefined {
  if (payload[0] !== VERSION) return undefined;
  const values: string[] = [];
  let at = 1;
  for (const _ of FIELDS) {
    const length = payload[at] ?? 0;
    const end = at + 1 + length;
    if (length === 0 || end > payload.length) return undefined;
    values.push(payload.toString("utf8", at + 1, end));
    at = end;
  }
  if (at !== payload.length) return undefined;
  const [site, nodes, id, repository] = values as [string, string, string, string];
  return { site, nodes: nodes.split(","), id, repository };
}
