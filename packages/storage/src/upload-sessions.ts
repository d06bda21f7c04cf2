import { ContentError, type DigestAlgorithm } from "@meridian/oci";
import type { UploadBytes } from "./upload-bytes.ts";
import { emptyPrefix, type HashedPrefix, hashBytes, UploadWriter, type WriterEnd } from "./upload-writer.ts";

const ID = /^[A-Za-z0-9_-]{1,128}$/;

/** Closed uploads whose hash is kept in memory, so that the next chunk need not hash all earlier ones again. */
const MAX_PARKED = 4096;

/** What a driver found of an upload. */
export interface FoundUpload {
  readonly bytes: UploadBytes;
  /** What is there, and synced. */
  readonly offset: number;
  /** As begun with; absent when that is not known. */
  readonly algorithm?: DigestAlgorithm;
}

/** How a driver makes and finds uploads. */
export interface UploadDriver {
  /** @throws ContentError `conflict` when it exists. */
  create(id: string, algorithm: DigestAlgorithm): Promise<UploadBytes>;
  /**
   * Undefined when there is none. What lies beyond the synced offset is cut off. `onDisk`: how much of it this process
   * has synced; absent after a restart, when a kill may have come before the sync.
   */
  find(id: string, onDisk: number | undefined): Promise<FoundUpload | undefined>;
}

/** @throws ContentError `invalid`: an id becomes part of a path. */
export function requireUploadId(id: string): void {
  if (!ID.test(id)) throw new ContentError("invalid", "an upload id is 1 to 128 characters of A-Z, a-z, 0-9, _ and -");
}

/** One writer per upload: whoever opens it fences the one before. */
export class UploadSessions {
  readonly #driver: UploadDriver;
  readonly #live = new Map<string, UploadWriter>();
  readonly #parked = new Map<string, HashedPrefix>();
  readonly #turns = new Map<string, Promise<unknown>>();
  #closed = false;

  constructor(driver: UploadDriver) {
    this.#driver = driver;
  }

  async begin(id: string, { algorithm = "sha256" }: { algorithm?: DigestAlgorithm } = {}): Promise<UploadWriter> {
    requireUploadId(id);
    return this.#inTurn(id, async () =>
      this.#start(id, await this.#driver.create(id, algorithm), emptyPrefix(algorithm)),
    );
  }

  async resume(id: string, options: { algorithm?: DigestAlgorithm } = {}): Promise<UploadWriter | undefined> {
    requireUploadId(id);
    return this.#inTurn(id, async () => {
      await this.#live.get(id)?.fence();
      const found = await this.#driver.find(id, this.#parked.get(id)?.offset);
      if (found === undefined) return undefined;
      try {
        return this.#start(id, found.bytes, await this.#prefixOf(id, found, options.algorithm));
      } catch (error) {
        await found.bytes.close();
        throw error;
      }
    });
  }

  /** True while a writer has it open. */
  isLive(id: string): boolean {
    return this.#live.has(id) || this.#turns.has(id);
  }

  /** Closes all writers; their bytes stay for a later resume. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#turns.values());
    await Promise.all(Array.from(this.#live.values(), (writer) => writer[Symbol.asyncDispose]()));
  }

  #start(id: string, bytes: UploadBytes, prefix: HashedPrefix): UploadWriter {
    const writer = new UploadWriter({ id, bytes, prefix, ended: (ended, end) => this.#ended(ended, end) });
    this.#live.set(id, writer);
    return writer;
  }

  async #prefixOf(id: string, found: FoundUpload, wanted: DigestAlgorithm | undefined): Promise<HashedPrefix> {
    const algorithm = wanted ?? found.algorithm ?? "sha256";
    const parked = this.#parked.get(id);
    this.#parked.delete(id);
    if (parked?.offset === found.offset && parked.algorithm === algorithm) return parked;
    return found.offset === 0 ? emptyPrefix(algorithm) : hashBytes(found.bytes, found.offset, algorithm);
  }

  #ended(writer: UploadWriter, end: WriterEnd): void {
    if (this.#live.get(writer.id) === writer) this.#live.delete(writer.id);
    if (end === "committed" || end === "cancelled") {
      this.#parked.delete(writer.id);
      return;
    }
    this.#parked.set(writer.id, writer.synced);
    for (const oldest of this.#parked.keys()) {
      if (this.#parked.size <= MAX_PARKED) break;
      this.#parked.delete(oldest);
    }
  }

  /** Beginning and resuming the same upload happen one after another. */
  async #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(id) ?? Promise.resolve()).then(() => {
      if (this.#closed) throw new ContentError("unavailable", "the blob store has been closed");
      return work();
    });
    const settled = turn.catch(() => undefined);
    this.#turns.set(id, settled);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(id) === settled) this.#turns.delete(id);
    }
  }
}
