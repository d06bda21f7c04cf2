import type { OnPersistStep } from "@meridian/runtime";
import type { BufferPool } from "./buffer-pool.ts";
import type { EarlySyncs } from "./early-syncs.ts";
import type { OpenFile } from "./open-file.ts";

/** Bytes after which a sync is started while more arrive, so that the last one finds little left to do. */
const EARLY_SYNC_BYTES = 8 * 1024 * 1024;

/** The file to append to. */
export interface WriteBehindParts {
  readonly file: OpenFile;
  readonly pool: BufferPool;
  readonly earlySyncs: EarlySyncs;
  /** For fault tests. */
  readonly onStep?: OnPersistStep;
  /** The file's length. */
  readonly position: number;
  /** True when all of it, the length included, is on disk. */
  readonly synced: boolean;
}

/**
 * Appends to a file through pooled buffers. What arrives while the disk is busy, or in one turn of the event loop, is
 * gathered into one larger write; nothing waits longer, so that no buffer is held for a client that pauses.
 */
export class WriteBehind {
  readonly #file: OpenFile;
  readonly #pool: BufferPool;
  readonly #earlySyncs: EarlySyncs;
  readonly #onStep: OnPersistStep | undefined;
  #position: number;
  #syncedTo: number;
  #filling: { readonly buffer: Buffer; length: number } | undefined;
  #draining: Promise<void> | undefined;
  #progress = Promise.withResolvers<void>();
  #syncing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor({ file, pool, earlySyncs, onStep, position, synced }: WriteBehindParts) {
    this.#file = file;
    this.#pool = pool;
    this.#earlySyncs = earlySyncs;
    this.#onStep = onStep;
    this.#position = position;
    this.#syncedTo = synced ? position : NEVER;
  }

  /** Takes a copy of the chunk; waits only while two buffers are full. Throws what an earlier write failed with. */
  async append(chunk: Uint8Array): Promise<void> {
    let taken = 0;
    while (taken < chunk.byteLength) {
      this.#throwFailure();
      this.#filling ??= { buffer: this.#pool.tryAcquire(LARGE) ?? (await this.#pool.acquire()), length: 0 };
      const { buffer, length } = this.#filling;
      const part = chunk.subarray(taken, taken + buffer.length - length);
      buffer.set(part, length);
      this.#filling.length += part.byteLength;
      taken += part.byteLength;
      if (this.#draining === undefined) this.#startDrain();
      while (this.#filling?.length === buffer.length) await this.#progress.promise;
    }
  }

  /** Resolves once the first `length` bytes have been given to the operating system. */
  async flushTo(length: number): Promise<void> {
    while (this.#position < length) {
      this.#throwFailure();
      await this.#progress.promise;
    }
  }

  /** Resolves once everything has been given to the operating system. Nothing may be appended meanwhile. */
  async flush(): Promise<void> {
    while (this.#draining !== undefined) await this.#draining;
    this.#throwFailure();
  }

  /** Resolves once everything is on disk. Nothing may be appended meanwhile. */
  async sync(): Promise<void> {
    await this.settle();
    this.#throwFailure();
    if (this.#syncedTo < this.#position) await this.#startSync();
    this.#throwFailure();
  }

  /** Cuts the file; the new length is on disk only after the next sync. */
  async truncate(length: number): Promise<void> {
    await this.settle();
    this.#throwFailure();
    await this.#file.truncate(length);
    this.#position = length;
    this.#syncedTo = NEVER;
  }

  /** Waits for what is under way, however it ends. */
  async settle(): Promise<void> {
    while (this.#draining !== undefined) await this.#draining;
    await this.#syncing;
  }

  #startDrain(): void {
    this.#draining = this.#drain().finally(() => {
      this.#draining = undefined;
      if (this.#filling !== undefined) this.#startDrain();
    });
  }

  async #drain(): Promise<void> {
    // A socket that has more to give gives it within this turn.
    await endOfTurn();
    while (this.#filling !== undefined) {
      const { buffer, length } = this.#filling;
      this.#filling = undefined;
      this.#advance();
      try {
        if (this.#failure === undefined) await this.#write(buffer.subarray(0, length));
      } catch (error) {
        this.#failure = { error };
      } finally {
        this.#pool.release(buffer);
        this.#advance();
      }
    }
  }

  async #write(bytes: Buffer): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      done += await this.#file.write(done === 0 ? bytes : bytes.subarray(done), this.#position + done);
    }
    this.#position += bytes.length;
    this.#onStep?.("temporary file written");
    if (this.#syncing === undefined && this.#position - this.#syncedTo >= EARLY_SYNC_BYTES) {
      this.#earlySyncs.tryRun(() => this.#startSync());
    }
  }

  /** Never rejects: what goes wrong is thrown by whoever looks next. */
  #startSync(): Promise<void> {
    const position = this.#position;
    const syncing = this.#file.datasync().then(
      () => {
        this.#syncedTo = position;
      },
      (error: unknown) => {
        this.#failure ??= { error };
      },
    );
    this.#syncing = syncing.finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  /** Wakes whoever waits for a buffer to be taken or written. */
  #advance(): void {
    this.#progress.resolve();
    this.#progress = Promise.withResolvers<void>();
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/** As large a buffer as there is. */
const LARGE = Number.POSITIVE_INFINITY;

/** Below every position: the file's length itself is not on disk yet. */
const NEVER = -1;

function endOfTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
