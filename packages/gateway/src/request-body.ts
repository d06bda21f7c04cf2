import type { Readable } from "node:stream";
import type { Timers } from "@meridian/runtime";
import { Refusal } from "./refusal.ts";

/** Limits of one request body. */
export interface BodyLimits {
  /** Milliseconds without a byte after which the body counts as broken off. */
  readonly idleMs: number;
  readonly timers: Timers;
}

/**
 * The bytes of a request as they arrive. Unlike the stream's own iterator it leaves the stream alone when the reader
 * stops early: an answer can still be sent, and what is left of the body thrown away.
 * @throws Refusal when the client stalls or breaks off.
 */
export async function* requestBody(stream: Readable, limits: BodyLimits): AsyncGenerator<Uint8Array> {
  for (;;) {
    const chunk: Uint8Array | null = stream.read();
    if (chunk !== null) yield chunk;
    else if (stream.readableEnded) return;
    else await moreBytes(stream, limits);
  }
}

/** Resolves when there is something to read, or the end. */
function moreBytes(stream: Readable, { idleMs, timers }: BodyLimits): Promise<void> {
  return new Promise((resolve, reject) => {
    if (stream.destroyed) {
      reject(brokenOff(stream.errored));
      return;
    }
    const settle = (act: () => void): void => {
      idle[Symbol.dispose]();
      stream
        .off("readable", onReady)
        .off("end", onReady)
        .off("error", onBroken)
        .off("close", onClose)
        .off("aborted", onClose);
      act();
    };
    const onReady = (): void => settle(resolve);
    const onBroken = (error: Error): void => settle(() => reject(brokenOff(error)));
    const onClose = (): void => settle(() => reject(brokenOff(undefined)));
    const idle = timers.after(idleMs, () =>
      settle(() =>
        reject(new Refusal("BLOB_UPLOAD_INVALID", `no byte of the body came for ${idleMs} ms`, { status: 408 })),
      ),
    );
    stream.on("readable", onReady).on("end", onReady).on("error", onBroken).on("close", onClose).on("aborted", onClose);
  });
}

function brokenOff(cause: unknown): Refusal {
  return new Refusal("BLOB_UPLOAD_INVALID", "the client broke off the body", { cause });
}

/**
 * The whole body in memory.
 * @throws Refusal 413 when it is longer than `maxBytes`, which is seen before reading where the length is declared.
 */
export async function readBody(
  source: { readonly bodyLength: number | undefined; readonly hasBody: boolean; body(): AsyncIterable<Uint8Array> },
  maxBytes: number,
): Promise<Buffer> {
  if (!source.hasBody) return Buffer.alloc(0);
  if (source.bodyLength !== undefined && source.bodyLength > maxBytes) throw tooLarge(maxBytes);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source.body()) {
    length += chunk.byteLength;
    if (length > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  return chunks.length === 1
    ? Buffer.from(chunks[0]!.buffer, chunks[0]!.byteOffset, chunks[0]!.byteLength)
    : Buffer.concat(chunks, length);
}

function tooLarge(maxBytes: number): Refusal {
  return new Refusal("SIZE_INVALID", `the body is larger than the ${maxBytes} bytes that this registry takes here`, {
    status: 413,
  });
}
