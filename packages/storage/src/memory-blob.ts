import { unlessAborted } from "./abort.ts";
import type { ByteSink, ByteSpan, OpenBlob } from "./blob-store.ts";
import { BUFFER_BYTES } from "./buffer-pool.ts";
import { requireSpan } from "./span.ts";

/** Sends a part of bytes that are in memory, in pieces, so that a slow sink is not handed everything at once. */
export async function sendBytes(
  bytes: Uint8Array,
  span: ByteSpan,
  sink: ByteSink,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  for (let start = span.start; start < span.end; start += BUFFER_BYTES) {
    signal?.throwIfAborted();
    const writing = sink.write(bytes.subarray(start, Math.min(start + BUFFER_BYTES, span.end)));
    if (writing !== undefined) await unlessAborted(writing, signal);
  }
}

/** An open blob whose whole content is in memory. */
export function openBytes(bytes: Uint8Array): OpenBlob {
  return {
    size: bytes.byteLength,
    bytes,
    async read(span, sink, options = {}) {
      requireSpan(span, bytes.byteLength);
      await sendBytes(bytes, span, sink, options);
    },
    async [Symbol.asyncDispose]() {},
  };
}
