import { type FileHandle, open } from "node:fs/promises";
import type { ByteSink, ByteSpan, OpenBlob } from "./blob-store.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { errorCode } from "./file-error.ts";
import { sendFile } from "./send-file.ts";
import { requireSpan } from "./span.ts";

/** Opens a file as a blob; undefined when there is none. */
export async function openFileBlob(path: string, pool: BufferPool): Promise<OpenBlob | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return new FileBlob(handle, (await handle.stat()).size, pool);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

class FileBlob implements OpenBlob {
  readonly size: number;
  readonly #handle: FileHandle;
  readonly #pool: BufferPool;

  constructor(handle: FileHandle, size: number, pool: BufferPool) {
    this.#handle = handle;
    this.size = size;
    this.#pool = pool;
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    requireSpan(span, this.size);
    signal?.throwIfAborted();
    await sendFile({ handle: this.#handle, span, sink, pool: this.#pool, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}
