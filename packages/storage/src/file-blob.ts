import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { ContentError } from "@meridian/oci";
import type { ByteSink, ByteSpan, OpenBlob } from "./blob-store.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { errorCode } from "./file-error.ts";
import { sendFile } from "./send-file.ts";
import { requireSpan } from "./span.ts";
import { fileState } from "./verified-copies.ts";

// Without it, opening a pipe that has a blob's name would wait for ever.
const READ = constants.O_RDONLY | constants.O_NONBLOCK;

/** Opens a file as a blob; undefined when there is none. @throws ContentError `digest-mismatch` when it is no file. */
export async function openFileBlob(path: string, pool: BufferPool): Promise<FileBlob | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, READ);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const found = await handle.stat();
    if (!found.isFile())
      throw new ContentError("digest-mismatch", "a blob's name belongs to something that is no file");
    return new FileBlob(handle, { size: found.size, state: fileState(found), mtimeMs: found.mtimeMs }, pool);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The bytes of an open file, unchecked. */
export class FileBlob implements OpenBlob {
  readonly size: number;
  /** See {@link fileState}. */
  readonly state: string;
  readonly #handle: FileHandle;
  readonly #mtimeMs: number;
  readonly #pool: BufferPool;

  constructor(handle: FileHandle, found: { size: number; state: string; mtimeMs: number }, pool: BufferPool) {
    this.#handle = handle;
    this.size = found.size;
    this.state = found.state;
    this.#mtimeMs = found.mtimeMs;
    this.#pool = pool;
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    requireSpan(span, this.size);
    signal?.throwIfAborted();
    await sendFile({ handle: this.#handle, span, sink, pool: this.#pool, signal });
  }

  /** True while nothing has been written to the file since it was opened; being deleted or renamed is no writing. */
  async isUnwritten(): Promise<boolean> {
    const now = await this.#handle.stat();
    return now.size === this.size && now.mtimeMs === this.#mtimeMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}
