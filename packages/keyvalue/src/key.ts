/** The longest key, in UTF-8 bytes: what fits LMDB's pages of 4 KiB. */
export const MAX_KEY_BYTES = 1900;

/** Says what keeps the key from being stored, or undefined when nothing does. */
export function keyProblem(key: string): string | undefined {
  if (key.length === 0) return "a key must not be empty";
  // A UTF-16 unit is at most three bytes of UTF-8, so short keys need no counting.
  if (key.length * 3 <= MAX_KEY_BYTES) return undefined;
  const bytes = Buffer.byteLength(key);
  return bytes > MAX_KEY_BYTES ? `a key must have at most ${MAX_KEY_BYTES} bytes, this one has ${bytes}` : undefined;
}

/** @throws RangeError when the key is empty or too long. */
export function requireKey(key: string): string {
  const problem = keyProblem(key);
  if (problem !== undefined) throw new RangeError(problem);
  return key;
}

const SURROGATE = /[\ud800-\udfff]/;

/** Compares as UTF-8 bytes: the order of UTF-16 units, but for surrogates, which stand for the highest code points. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  if (SURROGATE.test(a) || SURROGATE.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : 1;
}
