import { ContentError, type Digest, type DigestAlgorithm } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "../blob-store.ts";
import { BUFFER_BYTES } from "../buffer-pool.ts";
import type { ResumePoint, UploadBytes } from "../upload-bytes.ts";
import { assemble, type Piece } from "./assemble.ts";
import type { Background } from "./background.ts";
import { PART_BYTES, type PartFiller, type PartMemory } from "./part-memory.ts";
import type { S3Bucket } from "./s3-bucket.ts";
import type { S3Layout, S3UploadKeys } from "./s3-layout.ts";
import { cutSegments, encodeUploadState, lengthOf, objectLength, type StoredSegment } from "./s3-upload-state.ts";
import { sendObject } from "./send-object.ts";

/** What all uploads of a bucket share. */
export interface S3UploadsParts {
  readonly bucket: S3Bucket;
  readonly layout: S3Layout;
  readonly memory: PartMemory;
  readonly background: Background;
  /** A name that was never used. */
  readonly newName: () => string;
  /** Runs around giving a blob its key. */
  readonly publishing: (digest: Digest, size: number, place: () => Promise<void>) => Promise<void>;
}

/** Bytes of an upload that are in memory, in the bucket, or on the way from one to the other. */
interface Stretch {
  readonly start: number;
  length: number;
  /** Set until they are stored. */
  part: Buffer | undefined;
  /** The segment's name once they are, or are about to be. */
  name: string | undefined;
}

/** Segments on their way to the bucket at once, of one upload. */
const STORING_AT_ONCE = 4;

/** One upload: a list of segments in the bucket, and the part that is being filled. */
export class S3UploadBytes implements UploadBytes, PartFiller {
  readonly #parts: S3UploadsParts;
  readonly #keys: S3UploadKeys;
  readonly #nonce: string;
  /** Of the segments that this writer makes. */
  readonly #series: string;
  readonly #names = new Set<string>();
  readonly #storing = new Set<Promise<void>>();
  #stretches: Stretch[];
  #filling: Stretch | undefined;
  #segmentsMade = 0;
  #saved: { readonly algorithm: DigestAlgorithm; readonly segments: readonly StoredSegment[] };
  #failure: { readonly error: unknown } | undefined;
  #reads = 0;
  #afterReads: Array<() => void> = [];

  constructor(
    parts: S3UploadsParts,
    upload: { id: string; nonce: string; algorithm: DigestAlgorithm; segments: readonly StoredSegment[] },
  ) {
    this.#parts = parts;
    this.#keys = parts.layout.upload(upload.id);
    this.#nonce = upload.nonce;
    this.#series = parts.newName();
    this.#saved = { algorithm: upload.algorithm, segments: upload.segments };
    let start = 0;
    this.#stretches = upload.segments.map(({ name, length }) => {
      this.#names.add(name);
      start += length;
      return { start: start - length, length, part: undefined, name };
    });
  }

  async append(chunk: Uint8Array): Promise<void> {
    for (let taken = 0; taken < chunk.byteLength; ) {
      this.#throwFailure();
      while (this.#storing.size >= STORING_AT_ONCE) await Promise.race(this.#storing);
      const filling = this.#filling ?? (await this.#newStretch());
      const part = filling.part as Buffer;
      const piece = chunk.subarray(taken, taken + PART_BYTES - filling.length);
      part.set(piece, filling.length);
      filling.length += piece.byteLength;
      taken += piece.byteLength;
      if (filling.length === PART_BYTES) this.#store(filling);
      else this.#parts.memory.filling(this);
    }
  }

  spill(): void {
    if (this.#filling !== undefined) this.#store(this.#filling);
  }

  async sync({ algorithm }: ResumePoint): Promise<void> {
    await this.#storeAll();
    await this.#save(algorithm, this.#segments());
  }

  async truncate(length: number, { algorithm, offset }: ResumePoint): Promise<void> {
    await this.#storeAll();
    // First the state: a crash in between must not leave it speaking of bytes that have become other ones.
    await this.#save(algorithm, cutSegments(this.#segments(), offset));
    this.#stretches = this.#stretches
      .filter(({ start }) => start < length)
      .map((stretch) => ({ ...stretch, length: Math.min(stretch.length, length - stretch.start) }));
  }

  async read({ start, end }: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal }): Promise<void> {
    this.#reads++;
    try {
      for (let at = start; at < end; ) at = await this.#readFrom(at, end, sink, signal);
    } finally {
      this.#reads--;
      if (this.#reads === 0) for (const run of this.#afterReads.splice(0)) run();
    }
  }

  async publish(digest: Digest): Promise<void> {
    // Whoever still reads goes on from the bucket.
    if (this.#reads > 0) this.spill();
    await this.#settle();
    this.#throwFailure();
    // No longer to be spilled: it is sent from where it is.
    const tail = this.#filling;
    this.#filling = undefined;
    this.#parts.memory.notFilling(this);
    const size = this.#stretches.reduce((sum, { length }) => sum + length, 0);
    try {
      await this.#parts.publishing(digest, size, () => this.#place(digest, tail));
    } finally {
      this.#whenUnread(() => this.#forget(tail));
    }
    await this.remove();
  }

  async remove(): Promise<void> {
    await this.#settle();
    this.#letGo();
    // First the state, without which there is no upload; what a crash leaves of the rest is swept at the next start.
    await this.#parts.bucket.remove([this.#keys.state], { doing: "end an upload" });
    this.#removeLater([...Array.from(this.#names, (name) => this.#keys.segment(name)), this.#keys.assembling]);
  }

  async close(): Promise<void> {
    await this.#settle();
    this.#letGo();
    const saved = new Set(this.#saved.segments.map(({ name }) => name));
    this.#removeLater(Array.from(this.#names.difference(saved), (name) => this.#keys.segment(name)));
  }

  async #newStretch(): Promise<Stretch> {
    const part = await this.#parts.memory.acquire();
    const last = this.#stretches.at(-1);
    const start = last === undefined ? 0 : last.start + last.length;
    const stretch = { start, length: 0, part, name: undefined };
    this.#stretches.push(stretch);
    this.#filling = stretch;
    return stretch;
  }

  /** Never rejects: what goes wrong is thrown by whoever looks next. */
  #store(stretch: Stretch): void {
    const { bucket, memory } = this.#parts;
    const part = stretch.part as Buffer;
    const { length } = stretch;
    this.#filling = undefined;
    memory.notFilling(this);
    const name = `${this.#series}-${this.#segmentsMade++}-${length}`;
    this.#names.add(name);
    const storing = bucket
      .put(this.#keys.segment(name), part.subarray(0, length), { doing: "store a part of an upload" })
      .then(() => {
        stretch.name = name;
      })
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        stretch.part = undefined;
        memory.release(part);
        this.#storing.delete(storing);
      });
    this.#storing.add(storing);
  }

  async #settle(): Promise<void> {
    while (this.#storing.size > 0) await Promise.all(this.#storing);
  }

  async #storeAll(): Promise<void> {
    this.spill();
    await this.#settle();
    this.#throwFailure();
  }

  async #save(algorithm: DigestAlgorithm, segments: readonly StoredSegment[]): Promise<void> {
    if (this.#saved.algorithm === algorithm && sameSegments(this.#saved.segments, segments)) return;
    const state = encodeUploadState({ nonce: this.#nonce, algorithm, segments });
    await this.#parts.bucket.put(this.#keys.state, state, { doing: "sync an upload" });
    this.#saved = { algorithm, segments };
  }

  #segments(): StoredSegment[] {
    return this.#stretches.map(({ name, length }) => ({ name: name as string, length }));
  }

  async #place(digest: Digest, tail: Stretch | undefined): Promise<void> {
    const { bucket, layout } = this.#parts;
    const to = layout.blob(digest);
    const inMemory = tail?.part?.subarray(0, tail.length);
    const stored = this.#stretches.filter((stretch) => stretch !== tail);
    if (stored.length === 0) return bucket.put(to, inMemory ?? Buffer.alloc(0), { doing: "store a blob" });
    await assemble({
      bucket,
      to,
      tail: inMemory,
      pieces: stored.map((stretch) => this.#piece(stretch)),
      note: (upload) =>
        bucket.put(this.#keys.assembling, Buffer.from(JSON.stringify(upload)), { doing: "store a blob" }),
    });
  }

  #piece({ name = "", length }: Stretch): Piece {
    return { key: this.#keys.segment(name), length, whole: objectLength(name) === length };
  }

  /** Sends what follows `at`, a piece of what is in memory or a stored segment; resolves with where it got to. */
  async #readFrom(at: number, end: number, sink: ByteSink, signal: AbortSignal | undefined): Promise<number> {
    this.#throwFailure();
    const stretch = this.#stretches.find(({ start, length }) => start <= at && at < start + length);
    if (stretch === undefined) throw new ContentError("invalid-range", "the upload has been cut back meanwhile");
    const stop = Math.min(end, stretch.start + stretch.length);
    if (stretch.part === undefined) {
      const key = this.#keys.segment(stretch.name as string);
      const span = { start: at - stretch.start, end: stop - stretch.start };
      await sendObject({ bucket: this.#parts.bucket, key, span, sink, doing: "read an upload", signal });
      return stop;
    }
    // A copy: the part is used again as soon as it is stored, however slow the sink is.
    const to = Math.min(stop, at + BUFFER_BYTES);
    signal?.throwIfAborted();
    await sink.write(Buffer.from(stretch.part.subarray(at - stretch.start, to - stretch.start)));
    return to;
  }

  /** Gives back the part that is being filled. */
  #letGo(): void {
    const filling = this.#filling;
    this.#filling = undefined;
    this.#parts.memory.notFilling(this);
    this.#forget(filling);
  }

  #forget(stretch: Stretch | undefined): void {
    if (stretch?.part === undefined) return;
    this.#parts.memory.release(stretch.part);
    stretch.part = undefined;
    this.#stretches = this.#stretches.filter((other) => other !== stretch);
  }

  #removeLater(keys: readonly string[]): void {
    const { bucket, background } = this.#parts;
    const doing = "remove parts of an upload";
    if (keys.length > 0) this.#whenUnread(() => background.run(doing, () => bucket.remove(keys, { doing })));
  }

  #whenUnread(run: () => void): void {
    if (this.#reads > 0) this.#afterReads.push(run);
    else run();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

function sameSegments(one: readonly StoredSegment[], other: readonly StoredSegment[]): boolean {
  return one.length === other.length && lengthOf(one) === lengthOf(other) && one.at(-1)?.name === other.at(-1)?.name;
}
