import { readdir, readFile, rename, rm, stat, statfs, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ContentError, type Digest, type DigestAlgorithm } from "@meridian/oci";
import type { Clock, Logger, OnPersistStep, Timers } from "@meridian/runtime";
import { unlessAborted } from "./abort.ts";
import { BlobCount } from "./blob-count.ts";
import type { BlobInfo, BlobStore, ListOptions, OpenBlob, Upload } from "./blob-store.ts";
import { BufferPool, LARGE_WRITE_BUFFERS, READ_BUFFERS } from "./buffer-pool.ts";
import { DigestTurns } from "./digest-turns.ts";
import { DirectorySync } from "./directory-sync.ts";
import { EarlySyncs } from "./early-syncs.ts";
import { errorCode, fileError } from "./file-error.ts";
import { FilesystemChecks } from "./filesystem-checks.ts";
import { FilesystemLayout } from "./filesystem-layout.ts";
import { FilesystemQuarantine } from "./filesystem-quarantine.ts";
import { FilesystemUploads } from "./filesystem-uploads.ts";
import { requireDigest } from "./require-digest.ts";
import { sweepUploads } from "./sweep.ts";
import { UploadSessions } from "./upload-sessions.ts";
import { fileState } from "./verified-copies.ts";
import { writeDurably } from "./write-durably.ts";

/** Where a filesystem store is and what it uses. */
export interface FilesystemStoreOptions {
  /** Its folder, for this process alone; made when missing. */
  readonly root: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Uploads that nobody wrote for this long are removed, in milliseconds; 7 days when absent. */
  readonly sweepAfterMs?: number;
  /** Buffers of reads; a pool of its own when absent. */
  readonly bufferPool?: BufferPool;
  /** For fault tests. */
  readonly onStep?: OnPersistStep;
}

const WEEK_MS = 7 * 24 * 3600 * 1000;
const QUARANTINED_FOR_MS = WEEK_MS;
/** A folder has a blob's name: files do not replace it. */
const IN_THE_WAY: ReadonlySet<string> = new Set(["EISDIR", "ENOTEMPTY", "EEXIST"]);
const SWEEP_EVERY_MS = 3600 * 1000;
/** Writers hold buffers only while the disk works, so few go a long way. */
const WRITE_BUFFERS = 64;
const STATS_AT_ONCE = 32;

/**
 * Opens a blob store in a folder and sweeps what a crash left half-written.
 * @throws ContentError `unavailable` or `no-space`, in one line for the operator.
 */
export async function openFilesystemStore(options: FilesystemStoreOptions): Promise<BlobStore> {
  const directories = new DirectorySync(options.onStep);
  const layout = new FilesystemLayout(options.root, directories);
  await layout.prepare();
  const store = new FilesystemStore(options, layout, directories);
  await store.sweep({ leftovers: true });
  return store;
}

class FilesystemStore implements BlobStore {
  readonly #options: FilesystemStoreOptions;
  readonly #layout: FilesystemLayout;
  readonly #directories: DirectorySync;
  readonly checks: FilesystemChecks;
  readonly #sessions: UploadSessions;
  readonly #quarantine: FilesystemQuarantine;
  readonly #turns = new DigestTurns();
  readonly #count = new BlobCount(() => this.list());
  readonly #sweeping: Disposable;
  #probes = 0;

  constructor(options: FilesystemStoreOptions, layout: FilesystemLayout, directories: DirectorySync) {
    this.#options = options;
    this.#layout = layout;
    this.#directories = directories;
    const { bufferPool: readPool = new BufferPool(READ_BUFFERS), clock, log } = options;
    this.#quarantine = new FilesystemQuarantine(layout);
    this.checks = new FilesystemChecks({
      ...{ layout, pool: readPool, quarantine: this.#quarantine, turns: this.#turns, clock, log },
      names: () => this.#names(),
      moved: () => this.#count.forget(),
    });
    this.#sessions = new UploadSessions(
      new FilesystemUploads({
        layout,
        directories,
        readPool,
        writePool: new BufferPool({ maxBuffers: WRITE_BUFFERS, large: LARGE_WRITE_BUFFERS }),
        earlySyncs: new EarlySyncs(),
        onStep: options.onStep,
        publishing: (digest, size, place) => this.#publishing(digest, size, place),
      }),
    );
    this.#sweeping = options.timers.every(SWEEP_EVERY_MS, () => void this.#sweepAgain());
  }

  stat(digest: Digest): Promise<BlobInfo | undefined> {
    return this.#doing("look up a blob", async () => {
      const size = await this.#sizeOf(digest);
      return size === undefined ? undefined : { digest, size };
    });
  }

  open(digest: Digest): Promise<OpenBlob | undefined> {
    return this.#doing("open a blob", () => this.checks.open(digest));
  }

  begin(id: string, options?: { algorithm?: DigestAlgorithm }): Promise<Upload> {
    return this.#sessions.begin(id, options);
  }

  resume(id: string, options?: { algorithm?: DigestAlgorithm }): Promise<Upload | undefined> {
    return this.#sessions.resume(id, options);
  }

  async put(digest: Digest, content: Uint8Array): Promise<BlobInfo> {
    requireDigest(digest, content);
    const { onStep } = this.#options;
    const path = this.#layout.blob(digest);
    const written = this.#layout.unfinishedPut();
    await this.#doing("store a blob", async () => {
      try {
        await Promise.all([writeDurably(written, content, onStep), this.#layout.makeFolder(dirname(path))]);
        onStep?.("after the file's fsync");
        await this.#publishing(digest, content.byteLength, async () => {
          onStep?.("before the rename");
          await rename(written, path);
          onStep?.("after the rename");
          const [placed] = await Promise.all([stat(path), this.#directories.sync(dirname(path))]);
          return fileState(placed);
        });
      } catch (error) {
        await rm(written, { force: true }).catch(() => undefined);
        throw error;
      }
    });
    return { digest, size: content.byteLength };
  }

  /** Not fsynced: a blob that a power loss brings back is whole, and will be deleted again. */
  delete(digest: Digest): Promise<boolean> {
    return this.#doing("delete a blob", async () => {
      const size = this.#count.wanted ? await this.#sizeOf(digest) : undefined;
      try {
        await unlink(this.#layout.blob(digest));
      } catch (error) {
        if (errorCode(error) === "ENOENT") return false;
        throw error;
      }
      this.checks.forget(digest);
      if (size !== undefined) this.#count.removed(size);
      return true;
    });
  }

  async *list({ after }: ListOptions = {}): AsyncGenerator<BlobInfo> {
    for await (const digests of this.#pages(after)) {
      for (let at = 0; at < digests.length; at += STATS_AT_ONCE) {
        const infos = await Promise.all(digests.slice(at, at + STATS_AT_ONCE).map((digest) => this.stat(digest)));
        for (const info of infos) if (info !== undefined) yield info;
      }
    }
  }

  usage(): Promise<{ blobs: number; bytes: number; freeBytes: number }> {
    return this.#doing("measure the disk", async () => {
      const [counted, disk] = await Promise.all([this.#count.read(), statfs(this.#layout.root)]);
      return { ...counted, freeBytes: disk.bavail * disk.bsize };
    });
  }

  async probe(signal?: AbortSignal): Promise<void> {
    const path = join(this.#layout.uploads, `.probe-${process.pid}-${this.#probes++}`);
    const probing = this.#doing("write and read a probe", async () => {
      try {
        await writeFile(path, path, { flush: true, mode: 0o600 });
        if ((await readFile(path, "utf8")) !== path)
          throw new ContentError("unavailable", `${path} reads back changed`);
      } finally {
        await rm(path, { force: true });
      }
    });
    // A disk that hangs never answers: the probe may outlive the question.
    await unlessAborted(probing, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sweeping[Symbol.dispose]();
    await this.#sessions.close();
  }

  async sweep({ leftovers }: { leftovers: boolean }): Promise<void> {
    const { clock, log, sweepAfterMs = WEEK_MS, root } = this.#options;
    const removed = await this.#doing("sweep uploads", () =>
      sweepUploads({
        folder: this.#layout.uploads,
        olderThan: clock.now() - sweepAfterMs,
        isLive: (id) => this.#sessions.isLive(id),
        leftovers,
      }),
    );
    if (removed > 0) log.info("swept uploads that nobody finished", { root, removed });
    await this.#doing("sweep the quarantine", () => this.#quarantine.sweep(clock.now() - QUARANTINED_FOR_MS));
  }

  async #sweepAgain(): Promise<void> {
    try {
      await this.sweep({ leftovers: false });
    } catch (error) {
      this.#options.log.warn("could not sweep uploads", { root: this.#options.root, error });
    }
  }

  /** In turn with what moves bad copies aside: never the good one that has just replaced it. */
  #publishing(digest: Digest, size: number, place: () => Promise<string>): Promise<void> {
    return this.#turns.run(digest, async () => {
      const known = this.#count.wanted ? await this.#sizeOf(digest) : undefined;
      const state = await place().catch(async (error: unknown) => {
        if (!IN_THE_WAY.has(errorCode(error) ?? "")) throw error;
        await this.#quarantine.take(digest, this.#options.clock.now());
        return place();
      });
      this.checks.published(digest, state);
      if (this.#count.wanted && known === undefined) this.#count.added(size);
    });
  }

  /** Undefined for what is no file, too: there is no blob. */
  async #sizeOf(digest: Digest): Promise<number | undefined> {
    const found = await stat(this.#layout.blob(digest)).catch(absent);
    return found?.isFile() ? found.size : undefined;
  }

  async *#names(): AsyncGenerator<Digest> {
    for await (const digests of this.#pages()) yield* digests;
  }

  /** Names that a blob may have, a folder at a time; `after` as in {@link ListOptions}. */
  async *#pages(after?: Digest): AsyncGenerator<Digest[]> {
    for (const algorithm of ["sha256", "sha512"]) {
      const folder = join(this.#layout.blobs, algorithm);
      for (const prefix of await this.#namesIn(folder)) {
        // Nothing in a folder sorts behind its prefix and the last digit.
        if (after !== undefined && `${algorithm}:${prefix}g` < after) continue;
        const names = await this.#namesIn(join(folder, prefix));
        const digests = names.map((name) => this.#layout.digestAt(algorithm, prefix, name));
        yield digests.filter((digest) => digest !== undefined && (after === undefined || digest > after)) as Digest[];
      }
    }
  }

  #namesIn(folder: string): Promise<string[]> {
    return this.#doing("list blobs", async () => ((await readdir(folder).catch(absent)) ?? []).sort());
  }

  async #doing<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fileError(error, what, this.#layout.root);
    }
  }
}

/** A stray file among the folders holds no blobs; a link that leads round in a circle leads to none. */
const NOTHING_THERE: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

function absent(error: unknown): undefined {
  if (NOTHING_THERE.has(errorCode(error) ?? "")) return undefined;
  throw error;
}
