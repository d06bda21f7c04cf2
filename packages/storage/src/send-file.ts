import { read } from "node:fs";
import { ContentError } from "@meridian/oci";
import { unlessAborted } from "./abort.ts";
import type { ByteSink, ByteSpan } from "./blob-store.ts";
import type { BufferPool } from "./buffer-pool.ts";

/** What {@link sendFile} sends, from where and through which buffers. */
export interface FileSend {
  /** Open; its descriptor is -1 once it is closed. */
  readonly handle: { readonly fd: number };
  readonly span: ByteSpan;
  readonly sink: ByteSink;
  readonly pool: BufferPool;
  readonly signal?: AbortSignal;
}

/**
 * Sends a part of a file: while the sink has one buffer the next is being read, where the pool has a second to spare.
 * @throws ContentError `unavailable` when the file ends early or cannot be read, the sink's own error, the signal's reason.
 */
export async function sendFile({ handle, span, sink, pool, signal }: FileSend): Promise<void> {
  let position = span.start;
  if (position >= span.end) return;
  let current = await pool.acquire({ wanted: span.end - span.start, signal });
  let spare: Buffer | undefined;
  let writing: Promise<void> | undefined;
  let reading: Promise<number> | undefined = fill(handle, current, position, span.end);
  try {
    for (;;) {
      const length: number = await reading;
      reading = undefined;
      position += length;
      if (position < span.end) {
        if (spare !== undefined && pool.isCrowded) {
          pool.release(spare);
          spare = undefined;
        } else spare ??= pool.trySpare(span.end - position);
        if (spare !== undefined) reading = fill(handle, spare, position, span.end);
      }
      signal?.throwIfAborted();
      writing = sink.write(current.subarray(0, length)) ?? undefined;
      if (writing !== undefined) await unlessAborted(writing, signal);
      writing = undefined;
      if (position >= span.end) return;
      if (reading !== undefined) [current, spare] = [spare!, current];
      else reading = fill(handle, current, position, span.end);
    }
  } finally {
    // The spare goes back when nothing is read into it any more, the current one when the sink is done with it.
    await reading?.catch(() => undefined);
    if (spare !== undefined) pool.release(spare);
    giveBack(pool, current, writing);
  }
}

function giveBack(pool: BufferPool, buffer: Buffer, writing: Promise<void> | undefined): void {
  const release = (): void => pool.release(buffer);
  if (writing === undefined) release();
  else writing.then(release, release);
}

/** Reads until the buffer is full or `end` is reached; resolves with the number of bytes. */
function fill({ fd }: FileSend["handle"], buffer: Buffer, position: number, end: number): Promise<number> {
  const wanted = Math.min(buffer.length, end - position);
  return new Promise((resolve, reject) => {
    let length = 0;
    // The callback form: a promise of node's for each piece costs more than the read of a cached page.
    const more = (): void => read(fd, buffer, length, wanted - length, position + length, taken);
    const taken = (error: Error | null, bytes: number): void => {
      length += bytes;
      if (error !== null) reject(unreadable(error));
      else if (length === wanted) resolve(length);
      else if (bytes === 0) reject(endedEarly(position + length, end));
      else more();
    };
    try {
      more();
    } catch (error) {
      // A handle that is closed already has no descriptor.
      reject(unreadable(error));
    }
  });
}

function unreadable(cause: unknown): ContentError {
  return new ContentError("unavailable", `a file cannot be read: ${String(cause)}`, { cause });
}

function endedEarly(position: number, end: number): ContentError {
  return new ContentError("unavailable", `a file ended at byte ${position} of ${end}`);
}
