import { type FileHandle, mkdir, open, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ContentError, type Digest } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "./blob-store.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { DirectorySync } from "./directory-sync.ts";
import type { EarlySyncs } from "./early-syncs.ts";
import { errorCode, fileError } from "./file-error.ts";
import type { FilesystemLayout } from "./filesystem-layout.ts";
import { sendFile } from "./send-file.ts";
import type { ResumePoint, UploadBytes } from "./upload-bytes.ts";
import type { FoundUpload, UploadDriver } from "./upload-sessions.ts";
import { readUploadState, UploadStateFile } from "./upload-state.ts";
import { fileState } from "./verified-copies.ts";
import { WriteBehind } from "./write-behind.ts";

/** From this offset on an upload also survives a power loss, not only the end of the process. */
const NAMED_FROM_BYTES = 8 * 1024 * 1024;

/** What uploads on a filesystem share. */
export interface FilesystemUploadsParts {
  readonly layout: FilesystemLayout;
  readonly directories: DirectorySync;
  readonly readPool: BufferPool;
  readonly writePool: BufferPool;
  readonly earlySyncs: EarlySyncs;
  /** Runs around giving a blob its place, which resolves with the file's state there. */
  readonly publishing: (digest: Digest, size: number, place: () => Promise<string>) => Promise<void>;
}

/** Uploads as folders below `uploads/`. */
export class FilesystemUploads implements UploadDriver {
  readonly #parts: FilesystemUploadsParts;

  constructor(parts: FilesystemUploadsParts) {
    this.#parts = parts;
  }

  async create(id: string): Promise<UploadBytes> {
    const folder = this.#parts.layout.upload(id);
    try {
      await mkdir(folder, { mode: 0o700 });
      const handle = await open(join(folder, "data"), "wx+", 0o600);
      return new FilesystemUploadBytes(this.#parts, { folder, handle, length: 0, synced: false, named: false });
    } catch (error) {
      if (errorCode(error) === "EEXIST") throw new ContentError("conflict", `upload ${id} exists`);
      throw fileError(error, "begin an upload", this.#parts.layout.root);
    }
  }

  async find(id: string, onDisk: number | undefined): Promise<FoundUpload | undefined> {
    const folder = this.#parts.layout.upload(id);
    try {
      const state = await readUploadState(join(folder, "state"));
      const handle = await open(join(folder, "data"), "r+");
      return await this.#cutToSynced({ folder, handle, state, onDisk });
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw fileError(error, "resume an upload", this.#parts.layout.root);
    }
  }

  async #cutToSynced(found: {
    folder: string;
    handle: FileHandle;
    state: ResumePoint | undefined;
    onDisk: number | undefined;
  }): Promise<FoundUpload> {
    const { folder, handle, state, onDisk } = found;
    try {
      const { size } = await handle.stat();
      const offset = Math.min(state?.offset ?? 0, size);
      if (size > offset) await handle.truncate(offset);
      const synced = size === offset && onDisk === offset;
      const upload = { folder, handle, length: offset, synced, named: synced && offset >= NAMED_FROM_BYTES };
      return { bytes: new FilesystemUploadBytes(this.#parts, upload), offset, algorithm: state?.algorithm };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }
}

/** One upload's folder. */
class FilesystemUploadBytes implements UploadBytes {
  readonly #parts: FilesystemUploadsParts;
  readonly #folder: string;
  readonly #handle: FileHandle;
  readonly #state: UploadStateFile;
  readonly #behind: WriteBehind;
  /** True once the names of the folder and in it are known to be durable. */
  #named: boolean;
  #length: number;
  #reads = 0;
  #closing = false;

  constructor(
    parts: FilesystemUploadsParts,
    upload: { folder: string; handle: FileHandle; length: number; synced: boolean; named: boolean },
  ) {
    this.#parts = parts;
    this.#folder = upload.folder;
    this.#handle = upload.handle;
    this.#length = upload.length;
    this.#named = upload.named;
    this.#state = new UploadStateFile(join(upload.folder, "state"));
    this.#behind = new WriteBehind({
      handle: upload.handle,
      pool: parts.writePool,
      earlySyncs: parts.earlySyncs,
      position: upload.length,
      synced: upload.synced,
    });
  }

  append(chunk: Uint8Array): Promise<void> {
    return this.#doing("write an upload", async () => {
      await this.#behind.append(chunk);
      this.#length += chunk.byteLength;
    });
  }

  sync(resumeAt: ResumePoint): Promise<void> {
    return this.#doing("sync an upload", async () => {
      await this.#behind.flush();
      await this.#state.write(resumeAt);
      // Now a kill loses nothing. A power loss may still take the names and the state, so that the client begins again:
      // for a few megabytes that is cheaper than three more syncs in every push.
      const worthNaming = resumeAt.offset >= NAMED_FROM_BYTES ? [this.#nameDurably(), this.#state.sync()] : [];
      await Promise.all([this.#behind.sync(), ...worthNaming]);
    });
  }

  truncate(length: number, resumeAt: ResumePoint): Promise<void> {
    return this.#doing("cut an upload", async () => {
      // First the state: a crash in between must not leave it speaking of bytes that have become other ones.
      await this.#state.write(resumeAt);
      await this.#state.sync();
      await this.#behind.truncate(length);
      await this.#behind.sync();
      this.#length = length;
    });
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal }): Promise<void> {
    this.#reads++;
    try {
      await this.#doing("write an upload", () => this.#behind.flushTo(span.end));
      await sendFile({ handle: this.#handle, span, sink, pool: this.#parts.readPool, signal });
    } finally {
      this.#reads--;
      if (this.#closing) await this.#closeUnread();
    }
  }

  publish(digest: Digest): Promise<void> {
    return this.#doing("store a blob", async () => {
      const { layout, directories, publishing } = this.#parts;
      const path = layout.blob(digest);
      await Promise.all([this.#behind.sync(), layout.makeFolder(dirname(path))]);
      await publishing(digest, this.#length, async () => {
        // Over a blob that is there already: the same bytes, but surely good ones.
        await rename(join(this.#folder, "data"), path);
        const [placed] = await Promise.all([this.#handle.stat(), directories.sync(dirname(path))]);
        return fileState(placed);
      });
      await this.close();
      // What a crash leaves here is swept at the next start.
      await this.#removeEmptied();
    });
  }

  remove(): Promise<void> {
    return this.#doing("remove an upload", async () => {
      await this.close();
      await rm(this.#folder, { recursive: true, force: true });
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#behind.settle();
    await this.#state.close();
    await this.#closeUnread();
  }

  /** Fewer steps than a recursive removal, as only the state can be left. */
  async #removeEmptied(): Promise<void> {
    await rm(join(this.#folder, "state"), { force: true });
    await rmdir(this.#folder);
  }

  async #nameDurably(): Promise<void> {
    if (this.#named) return;
    await this.#state.open();
    const { directories, layout } = this.#parts;
    await Promise.all([directories.sync(this.#folder), directories.sync(layout.uploads)]);
    this.#named = true;
  }

  /** Whoever still reads goes on undisturbed, and closes the file at the end. */
  async #closeUnread(): Promise<void> {
    if (this.#reads === 0) await this.#handle.close();
  }

  async #doing<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fileError(error, what, this.#parts.layout.root);
    }
  }
}
