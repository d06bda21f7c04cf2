import type { S3Bucket, UnfinishedUpload } from "./s3-bucket.ts";
import type { S3Layout } from "./s3-layout.ts";
import { decodeUploadState } from "./s3-upload-state.ts";

/** What a sweep looks at and leaves alone. */
export interface S3SweepOptions {
  readonly bucket: S3Bucket;
  readonly layout: S3Layout;
  /** Uploads that nobody wrote since (Unix epoch, milliseconds) are removed. */
  readonly olderThan: number;
  /** True for an upload that is being written. */
  readonly isLive: (id: string) => boolean;
  /** At start nobody else is at work: what belongs to no upload, and what no upload names, is a leftover. */
  readonly leftovers: boolean;
}

interface UploadObjects {
  readonly id: string;
  readonly names: string[];
  modifiedAt: number;
}

const DOING = "sweep uploads";

/** Removes what crashes and vanished clients left; resolves with the number of uploads and leftovers removed. */
export async function sweepBucket(options: S3SweepOptions): Promise<number> {
  const { bucket, layout, leftovers } = options;
  let removed = 0;
  for await (const upload of uploadsIn(options)) removed += await sweepUpload(upload, options);
  if (!leftovers) return removed;
  for (const unfinished of await bucket.unfinishedUploads(layout.blobs, { doing: DOING })) {
    await bucket.abortMultipart(unfinished, { doing: DOING });
    removed++;
  }
  const probes = await Array.fromAsync(bucket.list(layout.probe(""), { doing: DOING }));
  await bucket.remove(
    probes.map(({ key }) => key),
    { doing: DOING },
  );
  return removed + probes.length;
}

async function* uploadsIn({ bucket, layout }: S3SweepOptions): AsyncGenerator<UploadObjects> {
  let current: UploadObjects | undefined;
  for await (const object of bucket.list(layout.uploads, { doing: DOING })) {
    const place = layout.uploadAt(object.key);
    if (place === undefined) continue;
    if (current !== undefined && current.id !== place.id) {
      yield current;
      current = undefined;
    }
    current ??= { id: place.id, names: [], modifiedAt: 0 };
    current.names.push(place.name);
    current.modifiedAt = Math.max(current.modifiedAt, object.modifiedAt);
  }
  if (current !== undefined) yield current;
}

async function sweepUpload(upload: UploadObjects, options: S3SweepOptions): Promise<number> {
  const { bucket, layout, isLive, olderThan, leftovers } = options;
  if (isLive(upload.id)) return 0;
  const hasState = upload.names.includes("state");
  const isDead = hasState ? upload.modifiedAt < olderThan : leftovers;
  const leave = isDead ? new Set<string>() : leftovers ? await namesInUse(upload, options) : undefined;
  if (leave === undefined) return 0;
  const gone = upload.names.filter((name) => !leave.has(name));
  if (gone.length === 0) return 0;
  const keys = layout.upload(upload.id);
  if (gone.includes("assembling")) await abortNoted(keys.assembling, options);
  if (gone.includes("state")) await bucket.remove([keys.state], { doing: DOING });
  await bucket.remove(
    gone.map((name) => keys.segment(name)),
    { doing: DOING },
  );
  return 1;
}

async function namesInUse(upload: UploadObjects, { bucket, layout }: S3SweepOptions): Promise<Set<string>> {
  const content = await bucket.get(layout.upload(upload.id).state, { doing: DOING });
  const segments = (content && decodeUploadState(content)?.segments) ?? [];
  return new Set(["state", ...segments.map(({ name }) => name)]);
}

async function abortNoted(key: string, { bucket, layout }: S3SweepOptions): Promise<void> {
  const content = await bucket.get(key, { doing: DOING });
  const noted = content && unfinishedIn(content);
  if (noted?.key.startsWith(layout.blobs)) await bucket.abortMultipart(noted, { doing: DOING });
}

function unfinishedIn(content: Buffer): UnfinishedUpload | undefined {
  try {
    const { key, uploadId } = JSON.parse(content.toString("utf8")) as Record<string, unknown>;
    return typeof key === "string" && typeof uploadId === "string" ? { key, uploadId } : undefined;
  } catch {
    return undefined;
  }
}
