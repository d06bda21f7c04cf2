import { ContentError, type Digest, type DigestAlgorithm } from "@meridian/oci";
import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import { unlessAborted } from "../abort.ts";
import { BlobCount } from "../blob-count.ts";
import type { BlobInfo, BlobStore, ListOptions, OpenBlob, Upload } from "../blob-store.ts";
import { DigestTurns } from "../digest-turns.ts";
import { requireDigest } from "../require-digest.ts";
import { UploadSessions } from "../upload-sessions.ts";
import { Background } from "./background.ts";

import { KnownSizes } from "./known-sizes.ts";
import { PartMemory } from "./part-memory.ts";
import { S3Blob } from "./s3-blob.ts";
import { S3Bucket } from "./s3-bucket.ts";
import { S3Checks } from "./s3-checks.ts";
import { createS3Client, type S3Client } from "./s3-client.ts";
import { S3Layout } from "./s3-layout.ts";
import { missingBucket, prepareBucket } from "./s3-preparation.ts";
import type { S3Credentials, S3Encryption, S3Place } from "./s3-settings.ts";
import { sweepBucket } from "./s3-sweep.ts";
import { S3Uploads } from "./s3-uploads.ts";
import { Wanted } from "./wanted.ts";

/** Where an S3 store is and what it uses. */
export interface S3StoreOptions {
  readonly place: S3Place;
  /** Asked before every request: files may have been renewed. */
  readonly credentials: () => Promise<S3Credentials>;
  readonly encryption?: S3Encryption;
  /** The node that writes here and nobody else, as site/process: a bucket (or prefix) marked by another is refused. */
  readonly owner: string;
  /** Give out signed URLs of blobs: see {@link BlobStore.link}. */
  readonly links?: boolean;
  /** Make the bucket when it is missing. */
  readonly createBucket?: boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  /** Uploads that nobody wrote for this long are removed, in milliseconds; 7 days when absent. */
  readonly sweepAfterMs?: number;
  /** Memory of all uploads together, in bytes; 192 MiB when absent. */
  readonly uploadMemoryBytes?: number;
  /** A connection on which nothing moves for so long is given up, in milliseconds; 10 000 when absent. */
  readonly idleMs?: number;
  /** How long writes are tried again, in milliseconds; 10 000 when absent. */
  readonly retryForMs?: number;
  /** How long reads are tried again, in milliseconds; 2 000 when absent: another node may have the blob. */
  readonly readRetryForMs?: number;
}

const WEEK_MS = 7 * 24 * 3600 * 1000;
const SWEEP_EVERY_MS = 3600 * 1000;
const TRY_TO_PREPARE_EVERY_MS = 5_000;
const UPLOAD_MEMORY_BYTES = 192 * 1024 * 1024;
const KNOWN_SIZES = 50_000;
/** After an answer from the bucket, absence is believed for so long without asking whether there is a bucket at all. */
const BUCKET_SEEN_MS = 5_000;

/**
 * Opens a blob store in a bucket. A bucket that cannot be reached or used now is no failure: reads and writes then fail
 * with `unavailable`, {@link BlobStore.probe} says why, and it is tried again until it works.
 */
export async function openS3Store(options: S3StoreOptions): Promise<BlobStore> {
  const { place, credentials, idleMs = 10_000 } = options;
  const store = new S3Store(options, createS3Client({ place, credentials, idleMs }));
  await store.tryToPrepare();
  return store;
}

class S3Store implements BlobStore {
  readonly link?: BlobStore["link"];
  readonly #options: S3StoreOptions;
  readonly #connection: S3Client;
  readonly #bucket: S3Bucket;
  readonly #layout: S3Layout;
  readonly #sessions: UploadSessions;
  readonly #background: Background;
  readonly #turns = new DigestTurns();
  readonly #sizes = new KnownSizes(KNOWN_SIZES);
  readonly #wanted: Wanted;
  readonly checks: S3Checks;
  readonly #count = new BlobCount(() => this.list());
  readonly #repeated: Disposable[];
  #preparing: Promise<void> | undefined;
  #prepared = false;
  #bucketSeenAt = Number.NEGATIVE_INFINITY;
  #names = 0;

  constructor(options: S3StoreOptions, connection: S3Client) {
    const { place, encryption, clock, timers, random, retryForMs, readRetryForMs, log } = options;
    this.#options = options;
    this.#connection = connection;
    this.#layout = new S3Layout(place.prefix);
    const { client } = connection;
    this.#bucket = new S3Bucket({ client, place, encryption, clock, timers, random, retryForMs, readRetryForMs });
    this.#background = new Background((doing, error) => log.warn(`could not ${doing}`, { error }));
    this.#wanted = new Wanted((digest) => this.#background.run("delete a blob", () => this.#removeIfDoomed(digest)));
    this.checks = new S3Checks({
      bucket: this.#bucket,
      layout: this.#layout,
      turns: this.#turns,
      background: this.#background,
      changed: (digest) => {
        this.#sizes.delete(digest);
        this.#count.forget();
      },
      log,
    });
    this.#sessions = new UploadSessions(
      new S3Uploads({
        bucket: this.#bucket,
        layout: this.#layout,
        memory: new PartMemory({ maxBytes: options.uploadMemoryBytes ?? UPLOAD_MEMORY_BYTES }),
        background: this.#background,
        newName: () => this.#newName(),
        publishing: (digest, size, place) => this.#publishing(digest, size, place),
      }),
    );
    if (options.links) this.link = (digest, { forMs }) => this.#link(digest, forMs);
    this.#repeated = [
      timers.every(TRY_TO_PREPARE_EVERY_MS, () => void this.tryToPrepare()),
      timers.every(SWEEP_EVERY_MS, () => this.#sweepLater()),
    ];
  }

  async stat(digest: Digest): Promise<BlobInfo | undefined> {
    const size = await this.#sizeOf(digest);
    return size === undefined ? undefined : { digest, size };
  }

  async open(digest: Digest): Promise<OpenBlob | undefined> {
    const release = this.#wanted.hold(digest);
    try {
      const size = await this.#sizeOf(digest);
      if (size === undefined) {
        release();
        return undefined;
      }
      const key = this.#layout.blob(digest);
      const onWrong = (): void => this.checks.suspect(digest);
      const onGone = (): void => this.#sizes.delete(digest);
      return new S3Blob({ bucket: this.#bucket, key, digest, size, onWrong, onGone, onClosed: release });
    } catch (error) {
      release();
      throw error;
    }
  }

  async begin(id: string, options?: { algorithm?: DigestAlgorithm }): Promise<Upload> {
    await this.#prepare();
    return this.#sessions.begin(id, options);
  }

  async resume(id: string, options?: { algorithm?: DigestAlgorithm }): Promise<Upload | undefined> {
    await this.#prepare();
    return this.#sessions.resume(id, options);
  }

  async put(digest: Digest, content: Uint8Array): Promise<BlobInfo> {
    requireDigest(digest, content);
    await this.#prepare();
    const body = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
    const key = this.#layout.blob(digest);
    await this.#publishing(digest, body.length, () => this.#bucket.put(key, body, { doing: "store a blob" }));
    return { digest, size: body.length };
  }

  delete(digest: Digest): Promise<boolean> {
    return this.#turns.run(digest, async () => {
      const size = await this.#sizeOf(digest);
      if (size === undefined) return false;
      this.#sizes.delete(digest);
      // Whoever reads it goes on: then it is only hidden, and removed at the end of the last read.
      if (this.#wanted.isHeld(digest)) this.#wanted.doom(digest);
      else await this.#bucket.remove([this.#layout.blob(digest)], { doing: "delete a blob" });
      if (this.#count.wanted) this.#count.removed(size);
      return true;
    });
  }

  async *list({ after }: ListOptions = {}): AsyncGenerator<BlobInfo> {
    const from = after === undefined ? {} : { after: this.#layout.blob(after) };
    for await (const { key, size } of this.#bucket.list(this.#layout.blobs, { doing: "list blobs", ...from })) {
      const digest = this.#layout.digestAt(key);
      if (digest !== undefined && !this.#isHidden(digest)) yield { digest, size };
    }
  }

  async usage(): Promise<{ blobs: number; bytes: number; freeBytes: number }> {
    return { ...(await this.#count.read()), freeBytes: Number.POSITIVE_INFINITY };
  }

  async #link(digest: Digest, forMs: number): Promise<string | undefined> {
    const seconds = Math.floor(forMs / 1000);
    if (seconds < 1 || (await this.#sizeOf(digest)) === undefined) return undefined;
    return this.#bucket.signedUrl(this.#layout.blob(digest), seconds);
  }

  async probe(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    await unlessAborted(this.#probe(), signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const repeated of this.#repeated) repeated[Symbol.dispose]();
    await this.#preparing?.catch(() => undefined);
    await this.#sessions.close();
    await this.#background.settled();
    this.#connection[Symbol.dispose]();
  }

  /** Says once in the log why the bucket cannot be used; whoever needs it is told each time. */
  async tryToPrepare(): Promise<void> {
    if (this.#prepared || this.#preparing !== undefined) return;
    await this.#prepare().catch((error: unknown) => {
      this.#options.log.error(error instanceof Error ? error.message : "the bucket cannot be used", { error });
    });
  }

  #prepare(): Promise<void> {
    if (this.#prepared) return Promise.resolve();
    this.#preparing ??= this.#prepareNow().finally(() => {
      this.#preparing = undefined;
    });
    return this.#preparing;
  }

  async #prepareNow(): Promise<void> {
    const { owner, createBucket: create = false } = this.#options;
    await prepareBucket({ bucket: this.#bucket, layout: this.#layout, owner, create });
    await this.#sweep({ leftovers: true });
    this.#prepared = true;
  }

  async #sweep({ leftovers }: { leftovers: boolean }): Promise<void> {
    const { clock, log, sweepAfterMs = WEEK_MS, place } = this.#options;
    const removed = await sweepBucket({
      bucket: this.#bucket,
      layout: this.#layout,
      olderThan: clock.now() - sweepAfterMs,
      isLive: (id) => this.#sessions.isLive(id),
      leftovers,
    });
    await this.checks.removeOld(clock.now() - WEEK_MS);
    if (removed > 0) log.info("swept uploads that nobody finished", { bucket: place.bucket, removed });
  }

  #sweepLater(): void {
    if (this.#prepared) this.#background.run("sweep uploads", () => this.#sweep({ leftovers: false }));
  }

  async #probe(): Promise<void> {
    await this.#prepare();
    const doing = "write and read a probe";
    const key = this.#layout.probe(this.#newName());
    const content = Buffer.from(key);
    await this.#bucket.put(key, content, { doing });
    const read = await this.#bucket.get(key, { doing });
    if (read?.equals(content) !== true) throw new ContentError("unavailable", `${key} reads back changed`);
    await this.#bucket.remove([key], { doing });
  }

  async #sizeOf(digest: Digest): Promise<number | undefined> {
    if (this.#isHidden(digest)) return undefined;
    const known = this.#sizes.get(digest);
    if (known !== undefined) return known;
    const doing = "look up a blob";
    const size = await this.#bucket.size(this.#layout.blob(digest), { doing });
    if (size === undefined) {
      await this.#requireBucket(doing);
      return undefined;
    }
    this.#bucketSeenAt = this.#options.clock.monotonic();
    // It may have been deleted meanwhile.
    if (this.#isHidden(digest)) return undefined;
    this.#sizes.set(digest, size);
    return size;
  }

  /** A missing bucket answers like a missing blob; but then nothing may be said to be absent. */
  async #requireBucket(doing: string): Promise<void> {
    const now = this.#options.clock.monotonic();
    if (now - this.#bucketSeenAt < BUCKET_SEEN_MS) return;
    if (!(await this.#bucket.exists({ doing }))) throw missingBucket(this.#bucket, doing);
    this.#bucketSeenAt = now;
  }

  /** Runs when the blob is made: nobody may remove it meanwhile, and what was wrong or to be deleted is good now. */
  #publishing(digest: Digest, size: number, place: () => Promise<void>): Promise<void> {
    return this.#turns.run(digest, async () => {
      const known = this.#count.wanted ? await this.#sizeOf(digest) : undefined;
      await place();
      this.#wanted.spare(digest);
      this.checks.cleared(digest);
      this.#sizes.set(digest, size);
      if (this.#count.wanted && known === undefined) this.#count.added(size);
    });
  }

  async #removeIfDoomed(digest: Digest): Promise<void> {
    await this.#turns.run(digest, async () => {
      if (!this.#wanted.isDoomed(digest) || this.#wanted.isHeld(digest)) return;
      await this.#bucket.remove([this.#layout.blob(digest)], { doing: "delete a blob" });
      this.#wanted.spare(digest);
    });
  }

  #isHidden(digest: Digest): boolean {
    return this.checks.isSuspect(digest) || this.#wanted.isDoomed(digest);
  }

  /** Unique to this opening of the store and within it, of a-z and 0-9. */
  #newName(): string {
    return `${Buffer.from(this.#options.random.bytes(8)).toString("hex")}${(this.#names++).toString(36)}`;
  }
}
