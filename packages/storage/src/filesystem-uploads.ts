import { rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { ContentError, type Digest } from "@meridian/oci";
import type { OnPersistStep } from "@meridian/runtime";
import type { ByteSink, ByteSpan } from "./blob-store.ts";
import type { BufferPool } from "./buffer-pool.ts";
import type { DirectorySync } from "./directory-sync.ts";
import type { EarlySyncs } from "./early-syncs.ts";
import { errorCode, fileError } from "./file-error.ts";
import type { FilesystemLayout } from "./filesystem-layout.ts";
import { OpenFile } from "./open-file.ts";
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
  /** For fault tests. */
  readonly onStep: OnPersistStep | undefined;
  /** Runs around giving a blob its place, which resolves with the file's state there. */
  readonly publishing: (digest: Digest, size: number, place: () => Promise<string>) => Promise<void>;
}

/**
 * Uploads as files below `uploads/`. No folder for each: making and removing one cost a push as much as its file did.
 */
export class FilesystemUploads implements UploadDriver {
  readonly #parts: FilesystemUploadsParts;

  constructor(parts: FilesystemUploadsParts) {
    this.#parts = parts;
  }

  async create(id: string): Promise<UploadBytes> {
    try {
      const file = await OpenFile.open(this.#parts.layout.upload(id), "wx+");
      return new FilesystemUploadBytes(this.#parts, {
        id,
        file,
        length: 0,
        synced: false,
        named: false,
        resumed: false,
      });
    } catch (error) {
      if (errorCode(error) === "EEXIST") throw new ContentError("conflict", `upload ${id} exists`);
      throw fileError(error, "begin an upload", this.#parts.layout.root);
    }
  }

  async find(id: string, onDisk: number | undefined): Promise<FoundUpload | undefined> {
    const { layout } = this.#parts;
    try {
      const state = await readUploadState(layout.uploadState(id));
      const file = await OpenFile.open(layout.upload(id), "r+");
      return await this.#cutToSynced({ id, file, state, onDisk });
    } catch (error) {
      if (errorCode(error) === "ENOENT") return undefined;
      throw fileError(error, "resume an upload", this.#parts.layout.root);
    }
  }

  async #cutToSynced(found: {
    id: string;
    file: OpenFile;
    state: ResumePoint | undefined;
    onDisk: number | undefined;
  }): Promise<FoundUpload> {
    const { id, file, state, onDisk } = found;
    try {
      const { size } = file.stat();
      const offset = Math.min(state?.offset ?? 0, size);
      if (size > offset) await file.truncate(offset);
      const synced = size === offset && onDisk === offset;
      const named = synced && offset >= NAMED_FROM_BYTES;
      const upload = { id, file, length: offset, synced, named, resumed: true };
      return { bytes: new FilesystemUploadBytes(this.#parts, upload), offset, algorithm: state?.algorithm };
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

/** One upload's files. */
class FilesystemUploadBytes implements UploadBytes {
  readonly #parts: FilesystemUploadsParts;
  readonly #path: string;
  readonly #statePath: string;
  readonly #file: OpenFile;
  readonly #state: UploadStateFile;
  readonly #behind: WriteBehind;
  /** True once the names of both files are known to be durable. */
  #named: boolean;
  /** True when there may be a state file. */
  #hasState: boolean;
  #length: number;
  #reads = 0;
  #closing = false;

  constructor(
    parts: FilesystemUploadsParts,
    upload: { id: string; file: OpenFile; length: number; synced: boolean; named: boolean; resumed: boolean },
  ) {
    this.#parts = parts;
    this.#path = parts.layout.upload(upload.id);
    this.#statePath = parts.layout.uploadState(upload.id);
    this.#file = upload.file;
    this.#length = upload.length;
    this.#named = upload.named;
    this.#hasState = upload.resumed;
    this.#state = new UploadStateFile(this.#statePath);
    this.#behind = new WriteBehind({
      file: upload.file,
      pool: parts.writePool,
      earlySyncs: parts.earlySyncs,
      onStep: parts.onStep,
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
      this.#hasState = true;
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
      this.#hasState = true;
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
      await sendFile({ handle: this.#file, span, sink, pool: this.#parts.readPool, signal });
    } finally {
      this.#reads--;
      if (this.#closing) this.#closeUnread();
    }
  }

  publish(digest: Digest): Promise<void> {
    return this.#doing("store a blob", async () => {
      const { layout, directories, publishing, onStep } = this.#parts;
      const path = layout.blob(digest);
      onStep?.("before the file's fsync");
      await Promise.all([this.#behind.sync(), layout.makeFolder(dirname(path))]);
      onStep?.("after the file's fsync");
      await publishing(digest, this.#length, async () => {
        // Over a blob that is there already: the same bytes, but surely good ones.
        onStep?.("before the rename");
        await rename(this.#path, path);
        onStep?.("after the rename");
        await directories.sync(dirname(path));
        return fileState(this.#file.stat());
      });
      await this.close();
      // What a crash leaves here is swept at the next start.
      if (this.#hasState) await rm(this.#statePath, { force: true });
    });
  }

  remove(): Promise<void> {
    return this.#doing("remove an upload", async () => {
      await this.close();
      // First the state: without it the bytes count as none.
      if (this.#hasState) await rm(this.#statePath, { force: true });
      await rm(this.#path, { force: true });
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#behind.settle();
    await this.#state.close();
    this.#closeUnread();
  }

  async #nameDurably(): Promise<void> {
    if (this.#named) return;
    await this.#state.open();
    const { directories, layout } = this.#parts;
    await directories.sync(layout.uploads);
    this.#named = true;
  }

  /** Whoever still reads goes on undisturbed, and closes the file at the end. */
  #closeUnread(): void {
    if (this.#reads === 0) this.#file.close();
  }

  async #doing<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw fileError(error, what, this.#parts.layout.root);
    }
  }
}
