import type { S3Bucket, UnfinishedUpload } from "./s3-bucket.ts";

/** A stored piece of the blob to be. */
export interface Piece {
  readonly key: string;
  /** How many of its bytes count. */
  readonly length: number;
  /** True when that is all of it. */
  readonly whole: boolean;
}

/** What is made of what. */
export interface AssembleOptions {
  readonly bucket: S3Bucket;
  /** The blob's key. */
  readonly to: string;
  /** In order; at least one. */
  readonly pieces: readonly Piece[];
  /** What comes after them and is still in memory. */
  readonly tail: Buffer | undefined;
  /** Notes durably which multipart upload is under way, so that a start after a crash can abort it. */
  readonly note: (upload: UnfinishedUpload) => Promise<void>;
}

/** S3 refuses smaller parts, but for the last one. */
const LEAST_PART_BYTES = 5 * 1024 * 1024;
/** S3 refuses more than 10 000. */
const MOST_PARTS = 9_000;
const AT_ONCE = 8;
const DOING = "store a blob";

/** One part of the blob: pieces that are copied inside the store when they are large enough, else brought together here. */
interface Group {
  readonly pieces: Piece[];
  readonly tail: Buffer | undefined;
}

/**
 * Makes the blob of pieces, inside the store as far as it goes: it is there as a whole or not at all. What was begun is
 * aborted when it fails.
 */
export async function assemble({ bucket, to, pieces, tail, note }: AssembleOptions): Promise<void> {
  const [only] = pieces;
  if (pieces.length === 1 && only?.whole && tail === undefined) return bucket.copy(only.key, to, { doing: DOING });
  const size = pieces.reduce((sum, { length }) => sum + length, tail?.byteLength ?? 0);
  const groups = groupsOf(pieces, tail, Math.max(LEAST_PART_BYTES, Math.ceil(size / MOST_PARTS)));
  const upload = { key: to, uploadId: await bucket.beginMultipart(to, { doing: DOING }) };
  try {
    const [tags] = await Promise.all([putParts(bucket, upload, groups), note(upload)]);
    await bucket.completeMultipart(upload, tags, size, { doing: DOING });
  } catch (error) {
    await bucket.abortMultipart(upload, { doing: "abort an upload" }).catch(() => undefined);
    throw error;
  }
}

function groupsOf(pieces: readonly Piece[], tail: Buffer | undefined, leastBytes: number): Group[] {
  const groups: Group[] = [];
  let group: Piece[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    group.push(piece);
    bytes += piece.length;
    if (bytes < leastBytes) continue;
    groups.push({ pieces: group, tail: undefined });
    group = [];
    bytes = 0;
  }
  if (group.length > 0 || tail !== undefined) groups.push({ pieces: group, tail });
  return groups;
}

async function putParts(bucket: S3Bucket, upload: UnfinishedUpload, groups: readonly Group[]): Promise<string[]> {
  const tags: string[] = [];
  let next = 0;
  let merging: Promise<unknown> = Promise.resolve();
  const work = async (): Promise<void> => {
    while (next < groups.length) {
      const index = next++;
      const group = groups[index] as Group;
      const [only] = group.pieces;
      if (only !== undefined && group.pieces.length === 1 && group.tail === undefined) {
        const from = { key: only.key, end: only.whole ? undefined : only.length };
        tags[index] = await bucket.copyPart(upload, index + 1, from, { doing: DOING });
        continue;
      }
      // One after another: they are in memory, and rare.
      const merged = merging.then(() => putMerged(bucket, upload, index + 1, group));
      merging = merged.catch(() => undefined);
      tags[index] = await merged;
    }
  };
  const workers = Array.from({ length: AT_ONCE }, () =>
    work().catch((error: unknown) => {
      next = groups.length;
      throw error;
    }),
  );
  const outcomes = await Promise.allSettled(workers);
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return tags;
}

async function putMerged(bucket: S3Bucket, upload: UnfinishedUpload, part: number, group: Group): Promise<string> {
  const parts: Buffer[] = [];
  for (const { key, length } of group.pieces) {
    const content = await bucket.get(key, { doing: DOING });
    if (content === undefined || content.byteLength < length) throw new Error(`${key} is not what was stored there`);
    parts.push(content.subarray(0, length));
  }
  if (group.tail !== undefined) parts.push(group.tail);
  const body = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  return bucket.putPart(upload, part, body, { doing: DOING });
}
