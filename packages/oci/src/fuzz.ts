import fc from "fast-check";

/** A parser to be tried with hostile inputs. */
export interface FuzzTarget {
  readonly name: string;
  /** What the parser is given. */
  readonly inputs: fc.Arbitrary<unknown>;
  /** Throws when the parser breaks its promise: an error that it does not declare, or a value that does not read back. */
  readonly check: (input: unknown) => void;
}

/** A target whose inputs and check agree on a type. */
export function fuzzTarget<T>(name: string, inputs: fc.Arbitrary<T>, check: (input: T) => void): FuzzTarget {
  return { name, inputs, check: (input) => check(input as T) };
}

/** What `parse` returns; undefined when it throws an error that it declares. Other errors pass. */
export function parsedOr<T>(isDeclared: (error: unknown) => boolean, parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (isDeclared(error)) return undefined;
    throw error;
  }
}

/** Pieces that parsers stumble over. */
const FRAGMENTS = [
  ..."\0\r\n\t \"'\\,;:=./@%&?#-_*<>{}[]()+~|^`$!",
  "\r\n",
  "\r\n\r\n",
  "\r\nSet-Cookie: x=1\r\n",
  "../",
  "..%2f",
  "%00",
  "%0d%0a",
  "%zz",
  "%c0%af",
  "sha256:",
  "bytes=",
  "0-",
  "-1",
  "9007199254740993",
  "1e999",
  "18446744073709551616",
  "__proto__",
  "constructor",
  "\ud800",
  "\ufeff",
  "\u2028",
  "é",
  "İ",
  "🐋",
  "null",
  "[[[[[[[[",
  '{"a":{"a":{"a":',
];

/** Numbers in [0, 1) from a seed (mulberry32): one number of fast-check's drives all changes of an input, which is cheap. */
function numbersFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const seed = fc.integer({ min: 0, max: 2 ** 31 });

/** Nothing of any kind. */
function noise(next: () => number): string {
  let text = "";
  for (let left = Math.floor(next() * 30); left > 0; left--) {
    const kind = next();
    if (kind < 0.4) text += String.fromCharCode(32 + next() * 95);
    else if (kind < 0.6) text += String.fromCharCode(next() * 65_536);
    else text += pick(FRAGMENTS, next);
  }
  return text;
}

function pick<T>(list: readonly T[], next: () => number): T {
  return list[Math.floor(next() * list.length)] as T;
}

/** One change to a text: insert, cut, repeat, replace or break off. */
function edited(text: string, next: () => number): string {
  const start = Math.floor(next() * (text.length + 1));
  const end = Math.min(text.length, start + Math.floor(next() * 13));
  const [before, middle, after] = [text.slice(0, start), text.slice(start, end), text.slice(end)];
  const piece = next() < 0.8 ? pick(FRAGMENTS, next) : noise(next);
  switch (Math.floor(next() * 5)) {
    case 0:
      return before + piece + middle + after;
    case 1:
      return before + after;
    case 2:
      return before + middle.repeat(pick([2, 3, 10, 300], next)) + after;
    case 3:
      return before + piece + after;
    default:
      return before;
  }
}

const POOL = 2_000;

/** Some of the values, made once: to make one costs most of an input's time, and the changes bring the variety. */
export function someOf<T>(values: fc.Arbitrary<T>): (next: () => number) => T {
  let pool: T[] | undefined;
  return (next) => {
    pool ??= fc.sample(values, { seed: 1, numRuns: POOL });
    return pick(pool, next);
  };
}

/** Texts that are valid (a fifth), almost valid, or nothing of the kind. */
export function hostileText(valid: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const some = someOf(valid);
  return seed.map((from) => {
    const next = numbersFrom(from);
    const text = some(next);
    const kind = next();
    if (kind < 0.2) return text;
    if (kind < 0.3) return noise(next);
    let changed = text;
    for (let left = 1 + Math.floor(next() * 3); left > 0; left--) changed = edited(changed, next);
    return changed;
  });
}

/** Bytes that are valid (a fifth), almost valid, or nothing of the kind. */
export function hostileBytes(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const some = someOf(valid);
  return seed.map((from) => {
    const next = numbersFrom(from);
    const bytes = some(next);
    const kind = next();
    if (kind < 0.2) return bytes;
    if (kind < 0.25) return Uint8Array.from({ length: Math.floor(next() * 200) }, () => next() * 256);
    if (kind < 0.4) return bytes.slice(0, Math.floor(next() * bytes.length));
    if (kind < 0.5) return Uint8Array.from([...bytes, ...bytes.slice(Math.floor(next() * bytes.length))]);
    const changed = Uint8Array.from(bytes);
    for (let left = 1 + Math.floor(next() * 4); left > 0; left--)
      changed[Math.floor(next() * changed.length)] = next() * 256;
    return changed;
  });
}
