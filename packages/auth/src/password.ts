import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { type Argon2Cost, formatPasswordHash, type PasswordHash, parsePasswordHash } from "./phc.ts";

const compute = promisify(argon2);

/** 19 MiB, two passes: OWASP's recommendation for argon2id. */
const COST: Argon2Cost = { memoryKib: 19_456, passes: 2, parallelism: 1 };
const SALT_BYTES = 16;
const TAG_BYTES = 32;

/** Hashes a password with a fresh salt. Resolves with a PHC string. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const tag = await tagOf(password, { ...COST, salt }, TAG_BYTES);
  return formatPasswordHash({ ...COST, salt, tag });
}

/**
 * True when the password belongs to the PHC string; compared in constant time.
 * @throws ContentError `invalid` when the string is no hash.
 */
export async function verifyPassword(password: string, phc: string): Promise<boolean> {
  const hash = parsePasswordHash(phc);
  const tag = await tagOf(password, hash, hash.tag.length);
  return timingSafeEqual(tag, hash.tag);
}

/** A hash that no password belongs to: checking against it costs what a real check costs. */
export function impossiblePasswordHash(): string {
  return formatPasswordHash({ ...COST, salt: randomBytes(SALT_BYTES), tag: randomBytes(TAG_BYTES) });
}

/** Every form of one typed password counts as the same: Unicode NFC. */
async function tagOf(password: string, hash: Omit<PasswordHash, "tag">, tagLength: number): Promise<Buffer> {
  return compute("argon2id", {
    message: password.normalize("NFC"),
    nonce: hash.salt,
    memory: hash.memoryKib,
    passes: hash.passes,
    parallelism: hash.parallelism,
    tagLength,
  });
}
