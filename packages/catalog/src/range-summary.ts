/** One thing that two sites may or may not both have, by its key. */
export interface ComparedRow {
  readonly key: string;
  /** Of its content: {@link HASH_BYTES} bytes. */
  readonly hash: Uint8Array;
}

/** `from` is inclusive, `to` exclusive. */
export interface RowRange {
  readonly from: string;
  readonly to: string;
}

/** A part of a range, from its first key up to the next segment's. */
export interface Segment {
  readonly from: string;
  readonly rows: number;
  /** The XOR of the rows' hashes. */
  readonly sum: Uint8Array;
}

/** What a range holds: every row when they are few, else at most {@link MAX_SEGMENTS} segments of about as many rows each. */
export type RangeSummary = { readonly entries: readonly ComparedRow[] } | { readonly segments: readonly Segment[] };

export const HASH_BYTES = 16;
export const MAX_SEGMENTS = 64;
/** A range of so many rows is told row by row. */
export const MAX_ENTRIES = 64;

interface GrowingSegment {
  from: string;
  rows: number;
  readonly sum: Uint8Array;
}

/**
 * Summarizes a range in one pass and little memory, however many rows it has: segments are joined in pairs, and take
 * twice as many rows from then on, whenever there are too many of them. Rows are to be added in the order of their keys.
 */
export class RangeSummarizer {
  readonly #range: RowRange;
  #entries: ComparedRow[] | undefined = [];
  #segments: GrowingSegment[] = [];
  #rowsEach = 1;

  constructor(range: RowRange) {
    this.#range = range;
  }

  add(row: ComparedRow): void {
    this.#entries?.push(row);
    if ((this.#entries?.length ?? 0) > MAX_ENTRIES) this.#entries = undefined;
    const last = this.#segments.at(-1);
    if (last !== undefined && last.rows < this.#rowsEach) {
      last.rows += 1;
      addInto(last.sum, row.hash);
      return;
    }
    if (this.#segments.length === MAX_SEGMENTS) {
      this.#segments = joinPairs(this.#segments);
      this.#rowsEach *= 2;
    }
    this.#segments.push({ from: row.key, rows: 1, sum: Uint8Array.from(row.hash) });
  }

  finish(): RangeSummary {
    if (this.#entries !== undefined) return { entries: this.#entries };
    const [first] = this.#segments;
    // What the other side has before the first row belongs to the first segment.
    if (first !== undefined) first.from = this.#range.from;
    return { segments: this.#segments };
  }
}

/** Adds up what lies between the beginnings of segments. Rows are to be added in the order of their keys. */
export class SegmentSums {
  readonly #segments: readonly Segment[];
  readonly #sums: GrowingSegment[];
  #at = 0;

  constructor(segments: readonly Segment[]) {
    this.#segments = segments;
    this.#sums = segments.map(({ from }) => ({ from, rows: 0, sum: new Uint8Array(HASH_BYTES) }));
  }

  add({ key, hash }: ComparedRow): void {
    while (this.#at + 1 < this.#sums.length && compareKeys(key, this.#sums[this.#at + 1]!.from) >= 0) this.#at += 1;
    const current = this.#sums[this.#at]!;
    current.rows += 1;
    addInto(current.sum, hash);
  }

  /** The ranges in which the rows that were added are not those of the segments. `to` is the end of the last. */
  differing(to: string): RowRange[] {
    return this.#segments.flatMap(({ from, rows, sum }, index) => {
      const own = this.#sums[index]!;
      if (own.rows === rows && Buffer.compare(own.sum, sum) === 0) return [];
      return [{ from, to: this.#segments[index + 1]?.from ?? to }];
    });
  }
}

/** The order of keys in a store: that of their UTF-8 bytes. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const [x, y] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (x === y) continue;
    // Surrogates stand for what comes after every other character.
    return x >= FIRST_SURROGATE && y >= FIRST_SURROGATE ? Buffer.compare(Buffer.from(a), Buffer.from(b)) : x - y;
  }
  return a.length - b.length;
}

const FIRST_SURROGATE = 0xd800;

function joinPairs(segments: readonly GrowingSegment[]): GrowingSegment[] {
  const joined: GrowingSegment[] = [];
  for (let index = 0; index < segments.length; index += 2) {
    const [first, second] = [segments[index]!, segments[index + 1]];
    if (second !== undefined) {
      first.rows += second.rows;
      addInto(first.sum, second.sum);
    }
    joined.push(first);
  }
  return joined;
}

function addInto(sum: Uint8Array, hash: Uint8Array): void {
  for (let index = 0; index < HASH_BYTES; index++) sum[index] = (sum[index] ?? 0) ^ (hash[index] ?? 0);
}
