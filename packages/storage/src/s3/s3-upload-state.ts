import type { DigestAlgorithm } from "@meridian/oci";

/** A piece of an upload that is stored under a key of its own. */
export interface StoredSegment {
  /** Unique within the upload, whoever wrote it; ends in how many bytes are stored under it. */
  readonly name: string;
  /** How many of its bytes count: fewer than it has when the upload was cut back into it. */
  readonly length: number;
}

/** What is kept of an upload: its synced bytes are those of the segments, one after the other. */
export interface S3UploadState {
  /** Tells this beginning of the upload from any other. */
  readonly nonce: string;
  readonly algorithm: DigestAlgorithm;
  readonly segments: readonly StoredSegment[];
}

const FORMAT = 1;
/** Whose, which, and how many bytes are stored under it. */
const NAME = /^[a-z0-9]{1,32}-[0-9]{1,8}-([0-9]{1,12})$/;

/** How many bytes the segments hold together. */
export function lengthOf(segments: readonly StoredSegment[]): number {
  return segments.reduce((sum, { length }) => sum + length, 0);
}

/** How many bytes are stored under a segment's name; 0 when it is none. */
export function objectLength(name: string): number {
  return Number(NAME.exec(name)?.[1] ?? 0);
}

/** The state as an object's content. */
export function encodeUploadState({ nonce, algorithm, segments }: S3UploadState): Buffer {
  const pairs = segments.map(({ name, length }) => [name, length]);
  return Buffer.from(JSON.stringify({ format: FORMAT, nonce, algorithm, segments: pairs }));
}

/** Undefined when it is none that this program wrote: then nothing was ever synced. */
export function decodeUploadState(content: Buffer): S3UploadState | undefined {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(content.toString("utf8")) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const { format, nonce, algorithm, segments } = value ?? {};
  if (format !== FORMAT || typeof nonce !== "string" || !Array.isArray(segments)) return undefined;
  if (algorithm !== "sha256" && algorithm !== "sha512") return undefined;
  const stored = segments.map(segmentOf);
  return stored.every((one) => one !== undefined) ? { nonce, algorithm, segments: stored } : undefined;
}

function segmentOf(pair: unknown): StoredSegment | undefined {
  if (!Array.isArray(pair)) return undefined;
  const [name, length] = pair as unknown[];
  if (typeof name !== "string" || !NAME.test(name) || !Number.isSafeInteger(length)) return undefined;
  return (length as number) > 0 ? { name, length: length as number } : undefined;
}

/** The segments of the first `length` bytes; the last one shortened where need be. */
export function cutSegments(segments: readonly StoredSegment[], length: number): StoredSegment[] {
  const kept: StoredSegment[] = [];
  for (let left = length, i = 0; left > 0 && i < segments.length; i++) {
    const segment = segments[i] as StoredSegment;
    kept.push({ name: segment.name, length: Math.min(segment.length, left) });
    left -= segment.length;
  }
  return kept;
}
