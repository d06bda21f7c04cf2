import {
  type ComparedRow,
  compareKeys,
  RangeSummarizer,
  type RangeSummary,
  type RowRange,
  SegmentSums,
} from "./range-summary.ts";

/** Rows of a range, in the order of their keys, a batch at a time so that nothing is kept waiting. */
export type RowSource = (range: RowRange) => AsyncIterable<readonly ComparedRow[]>;

/** So many ranges are asked for in one message. */
export const MAX_RANGES = 32;

/** What one message says of its ranges may have so many bytes, about. */
const MAX_ANSWER_BYTES = 1024 * 1024;
const BYTES_PER_ROW = 32;

/** Summarizes the first of the ranges: all of them, unless that would be too much for one message, and at least one. */
export async function summarizeRanges(ranges: readonly RowRange[], rows: RowSource): Promise<RangeSummary[]> {
  const summaries: RangeSummary[] = [];
  let bytes = 0;
  for (const range of ranges.slice(0, MAX_RANGES)) {
    if (bytes >= MAX_ANSWER_BYTES) break;
    const summarizer = new RangeSummarizer(range);
    for await (const batch of rows(range)) for (const row of batch) summarizer.add(row);
    const summary = summarizer.finish();
    bytes += bytesOf(summary);
    summaries.push(summary);
  }
  return summaries;
}

function bytesOf(summary: RangeSummary): number {
  const keys = "entries" in summary ? summary.entries.map(({ key }) => key) : summary.segments.map(({ from }) => from);
  return keys.reduce((sum, key) => sum + Buffer.byteLength(key) + BYTES_PER_ROW, 0);
}

/**
 * The keys whose rows are not the same here and at the other side, in no order: range by range, those that differ are
 * asked for more finely, so that the messages grow with the differences and not with what is compared. `ask` answers as
 * {@link summarizeRanges} does. What changes meanwhile may be among them, so each has to be looked at again.
 */
export async function* findDifferences(
  range: RowRange,
  {
    own,
    ask,
  }: { readonly own: RowSource; readonly ask: (ranges: readonly RowRange[]) => Promise<readonly RangeSummary[]> },
): AsyncGenerator<string, void, undefined> {
  const open = [range];
  while (open.length > 0) {
    const asked = open.splice(-MAX_RANGES);
    const answers = await ask(asked);
    if (answers.length === 0 || answers.length > asked.length) throw new Error("an answer to another question");
    open.push(...asked.slice(answers.length));
    for (const [index, answer] of answers.entries()) {
      const of = asked[index]!;
      if ("entries" in answer) yield* differingRows(of, answer.entries, own);
      else open.push(...(await differingRanges(of, answer.segments, own)));
    }
  }
}

async function differingRanges(
  range: RowRange,
  segments: Parameters<typeof sumsOf>[1],
  own: RowSource,
): Promise<RowRange[]> {
  return (await sumsOf(range, segments, own)).differing(range.to);
}

async function sumsOf(
  range: RowRange,
  segments: ConstructorParameters<typeof SegmentSums>[0],
  own: RowSource,
): Promise<SegmentSums> {
  const sums = new SegmentSums(segments);
  for await (const batch of own(range)) for (const row of batch) sums.add(row);
  return sums;
}

/** Both sides are in the order of their keys. */
async function* differingRows(
  range: RowRange,
  others: readonly ComparedRow[],
  own: RowSource,
): AsyncGenerator<string, void, undefined> {
  let at = 0;
  for await (const batch of own(range)) {
    for (const { key, hash } of batch) {
      for (; at < others.length && compareKeys(others[at]!.key, key) < 0; at++) yield others[at]!.key;
      const other = others[at];
      if (other?.key !== key) {
        yield key;
        continue;
      }
      at += 1;
      if (Buffer.compare(other.hash, hash) !== 0) yield key;
    }
  }
  for (; at < others.length; at++) yield others[at]!.key;
}
