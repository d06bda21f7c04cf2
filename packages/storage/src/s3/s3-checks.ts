import { type Digest, isContentError } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import type { BlobChecks, CheckOptions, CheckOutcome, Damage, QuarantinedCopy } from "../blob-checks.ts";
import type { DigestTurns } from "../digest-turns.ts";
import type { Background } from "./background.ts";
import { S3Blob } from "./s3-blob.ts";
import type { S3Bucket } from "./s3-bucket.ts";
import type { S3Layout } from "./s3-layout.ts";

/** What {@link S3Checks} works with. */
export interface S3ChecksParts {
  readonly bucket: S3Bucket;
  readonly layout: S3Layout;
  readonly turns: DigestTurns;
  readonly background: Background;
  /** Told when a blob is found wrong, and when it has been moved aside. */
  readonly changed: (digest: Digest) => void;
  readonly log: Logger;
}

const WRONG_BYTES = "its bytes do not hash to its digest";
const DOING = "check a blob";
const MOVING = "move a wrong blob aside";
const DEAF = { onWrong: () => {}, onGone: () => {}, onClosed: () => {} };

/** Checks the blobs of a bucket and moves wrong ones aside: under `quarantine/`, so that they are there to be looked at. */
export class S3Checks implements BlobChecks {
  readonly #parts: S3ChecksParts;
  readonly #suspects = new Set<Digest>();
  readonly #listeners = new Set<(damage: Damage) => void>();

  constructor(parts: S3ChecksParts) {
    this.#parts = parts;
  }

  /** True for a blob that a reader found wrong and that has not been looked at again yet: it is not served. */
  isSuspect(digest: Digest): boolean {
    return this.#suspects.has(digest);
  }

  /** The blob has been stored anew. */
  cleared(digest: Digest): void {
    this.#suspects.delete(digest);
  }

  /** A reader found it wrong: it is hidden, and moved aside when a second look finds the same. */
  suspect(digest: Digest): void {
    if (this.#suspects.has(digest)) return;
    this.#suspects.add(digest);
    this.#parts.changed(digest);
    this.#parts.background.run(MOVING, async () => {
      await this.check(digest);
    });
  }

  check(digest: Digest, { pace, signal }: CheckOptions = {}): Promise<CheckOutcome> {
    return this.#parts.turns.run(digest, async () => {
      const outcome = await this.#look(digest, pace, signal);
      if (outcome === "damaged") await this.#moveAside(digest);
      this.#suspects.delete(digest);
      return outcome;
    });
  }

  /** Nothing: what a bucket lists can be read. */
  async *inspect(): AsyncGenerator<Damage> {}

  async *quarantined(): AsyncGenerator<QuarantinedCopy> {
    const { bucket, layout } = this.#parts;
    for await (const { key, modifiedAt } of bucket.list(layout.quarantine, { doing: "list wrong blobs" })) {
      const digest = layout.quarantinedAt(key);
      if (digest !== undefined) yield { digest, at: modifiedAt, path: key };
    }
  }

  watch(listener: (damage: Damage) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Removes what was moved aside before then (Unix epoch, milliseconds). */
  async removeOld(before: number): Promise<void> {
    const old: string[] = [];
    for await (const { path, at } of this.quarantined()) if (at < before) old.push(path);
    await this.#parts.bucket.remove(old, { doing: "remove wrong blobs" });
  }

  async #look(digest: Digest, pace: CheckOptions["pace"], signal?: AbortSignal): Promise<CheckOutcome> {
    const { bucket, layout } = this.#parts;
    const key = layout.blob(digest);
    const size = await bucket.size(key, { doing: DOING });
    if (size === undefined) return "absent";
    const blob = new S3Blob({ bucket, key, digest, size, ...DEAF });
    try {
      await blob.read({ start: 0, end: size }, { write: (chunk) => pace?.(chunk.byteLength) }, { signal });
      return "right";
    } catch (error) {
      if (isContentError(error, "digest-mismatch")) return "damaged";
      throw error;
    }
  }

  async #moveAside(digest: Digest): Promise<void> {
    const { bucket, layout, log, changed } = this.#parts;
    const key = layout.blob(digest);
    const aside = layout.quarantined(digest);
    await bucket.copy(key, aside, { doing: MOVING });
    await bucket.remove([key], { doing: MOVING });
    changed(digest);
    log.error("a blob in the bucket is wrong and has been moved aside", { digest, key: aside });
    for (const listener of this.#listeners) listener({ digest, problem: WRONG_BYTES });
  }
}
