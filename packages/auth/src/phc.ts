import { ContentError, ContentErrorKind } from "@meridian/oci";

/** Cost of an argon2id computation. */
export interface Argon2Cost {
  readonly memoryKib: number;
  readonly passes: number;
  readonly parallelism: number;
}

/** A password hash, taken apart. */
export interface PasswordHash extends Argon2Cost {
  readonly salt: Uint8Array;
  readonly tag: Uint8Array;
}

const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,88})\$([A-Za-z0-9+/]{22,88})$/;
/** What a hash may cost to check: it comes from an administrator, but must not stop the site. */
const MAX_MEMORY_KIB = 262_144;
const MAX_PASSES = 16;
const MAX_PARALLELISM = 8;

/** Writes a hash as the string of the PHC format (argon2id, version 19). */
export function formatPasswordHash({ memoryKib, passes, parallelism, salt, tag }: PasswordHash): string {
  return `$argon2id$v=19$m=${memoryKib},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(tag)}`;
}

/**
 * Reads a PHC string.
 * @throws ContentError `invalid` when it is not one of argon2id version 19, or costs too much to check.
 */
export function parsePasswordHash(phc: string): PasswordHash {
  const [, memory, passes, parallelism, salt, tag] = PHC.exec(phc) ?? [];
  if (!memory || !passes || !parallelism || !salt || !tag)
    throw new ContentError(ContentErrorKind.invalid, "the password hash is not a PHC string of argon2id, version 19");
  const hash: PasswordHash = {
    memoryKib: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, "base64"),
    tag: Buffer.from(tag, "base64"),
  };
  const { memoryKib } = hash;
  const isSane =
    hash.passes >= 1 &&
    hash.passes <= MAX_PASSES &&
    hash.parallelism >= 1 &&
    hash.parallelism <= MAX_PARALLELISM &&
    memoryKib >= 8 * hash.parallelism &&
    memoryKib <= MAX_MEMORY_KIB;
  if (!isSane) throw new ContentError(ContentErrorKind.invalid, "the password hash has parameters out of bounds");
  return hash;
}

function unpadded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replaceAll("=", "");
}
