import type { ContentError } from "@meridian/oci";
import type { S3Bucket } from "./s3-bucket.ts";
import { s3Error } from "./s3-error.ts";
import type { S3Layout } from "./s3-layout.ts";

/** What this package writes into `format`; raised when a key's place or meaning changes. */
const FORMAT = 1;

/** What has to be so before anything is written. */
export interface PreparationOptions {
  readonly bucket: S3Bucket;
  readonly layout: S3Layout;
  /** The node that the keys are for, as site/process. */
  readonly owner: string;
  /** Make the bucket when it is missing. */
  readonly create: boolean;
}

/**
 * Checks that the bucket is there and this node's own, and marks it as such.
 * @throws ContentError `unavailable`: it is missing, of another node or format, or cannot be asked.
 */
export async function prepareBucket({ bucket, layout, owner, create }: PreparationOptions): Promise<void> {
  const doing = "keep blobs";
  if (!(await bucket.exists({ doing }))) {
    if (!create) throw missingBucket(bucket, doing);
    await bucket.create();
  }
  const content = await bucket.get(layout.format, { doing });
  if (content === undefined) {
    await bucket.put(layout.format, Buffer.from(`${JSON.stringify({ format: FORMAT, owner })}\n`), { doing });
    return;
  }
  const mark = markIn(content);
  const problem = mark === undefined ? "it has an unreadable format mark" : problemOf(mark, owner);
  if (problem === undefined) return;
  throw s3Error(Object.assign(new Error(problem), { code: problem }), doing, bucket.place);
}

/** What every use of a bucket that is not there fails with. */
export function missingBucket({ place }: S3Bucket, doing: string): ContentError {
  return s3Error(Object.assign(new Error("the bucket is missing"), { code: "NoSuchBucket" }), doing, place);
}

function problemOf(mark: { format: number; owner: string }, owner: string): string | undefined {
  if (mark.format !== FORMAT) return `its format is ${mark.format}, this program knows ${FORMAT}`;
  if (mark.owner === owner) return undefined;
  return `it is in use by node ${mark.owner}, this is ${owner}: give each node its own bucket or storage.s3.prefix, or delete the object "format" to hand it over`;
}

function markIn(content: Buffer): { format: number; owner: string } | undefined {
  try {
    const { format, owner } = JSON.parse(content.toString("utf8")) as Record<string, unknown>;
    return typeof format === "number" && typeof owner === "string" ? { format, owner } : undefined;
  } catch {
    return undefined;
  }
}
