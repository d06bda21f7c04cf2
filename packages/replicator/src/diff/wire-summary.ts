import { HASH_BYTES, MAX_RANGES, type RangeSummary, type RowRange } from "@meridian/catalog";
import { ContentError } from "@meridian/oci";
import type { diffV1 } from "@meridian/wire";

/** So many registers or digests go into one message. */
export const MAX_KEYS = 200;
const MAX_SEGMENTS = 64;

type WireSummary = Omit<diffV1.Summary, "$typeName" | "segments" | "entries"> & {
  segments: Omit<diffV1.Segment, "$typeName">[];
  entries: Omit<diffV1.Row, "$typeName">[];
};

export function toWireSummary(summary: RangeSummary): WireSummary {
  if ("entries" in summary) return { whole: true, entries: [...summary.entries], segments: [] };
  const segments = summary.segments.map(({ from, rows, sum }) => ({ from, rows: BigInt(rows), sum }));
  return { whole: false, entries: [], segments };
}

/** @throws ContentError `invalid` when another process answered with what is none. */
export function fromWireSummary({ whole, segments, entries }: diffV1.Summary): RangeSummary {
  const hashes = [...segments.map(({ sum }) => sum), ...entries.map(({ hash }) => hash)];
  const counts = segments.length <= MAX_SEGMENTS && (whole ? segments.length === 0 : segments.length > 0);
  if (!counts || hashes.some((bytes) => bytes.byteLength !== HASH_BYTES))
    throw new ContentError("invalid", "a malformed summary of what a site holds");
  if (whole) return { entries };
  return { segments: segments.map(({ from, rows, sum }) => ({ from, rows: Number(rows), sum })) };
}

/** @throws ContentError `invalid` when more is asked for than goes into one message. */
export function requireRanges(ranges: readonly RowRange[]): readonly RowRange[] {
  if (ranges.length === 0 || ranges.length > MAX_RANGES)
    throw new ContentError("invalid", `1 to ${MAX_RANGES} ranges can be asked for at once`);
  return ranges;
}

/** @throws ContentError `invalid` when there are more than {@link MAX_KEYS}. */
export function requireKeys<T>(keys: readonly T[]): readonly T[] {
  if (keys.length > MAX_KEYS) throw new ContentError("invalid", `at most ${MAX_KEYS} at once`);
  return keys;
}

/** Batches of at most {@link MAX_KEYS}. */
export function* batches<T>(items: readonly T[]): Iterable<T[]> {
  for (let start = 0; start < items.length; start += MAX_KEYS) yield items.slice(start, start + MAX_KEYS);
}
