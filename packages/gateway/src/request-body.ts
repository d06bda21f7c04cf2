import type { Readable } from "node:stream";
import type { Timers } from "@meridian/runtime";
import { Refusal } from "./refusal.ts";

/** Limits of one request body. */
export interface BodyLimits {
  /** Milliseconds without a byte after which the body counts as broken off. */
  readonly idleMs: number;
  readonly timers: Timers;
}

/** Chunks are taken ahead of the reader up to so many bytes; the rest waits in the connection. */
const AHEAD_BYTES = 128 * 1024;
/** The wait for a byte is looked at so often in its time, not timed for each chunk anew. */
const IDLE_CHECKS = 4;

type Next = IteratorResult<Uint8Array, undefined>;
const OVER: Next = { done: true, value: undefined };
const ENDED: Promise<Next> = Promise.resolve(OVER);

/**
 * The bytes of a request as they arrive, once. Unlike the stream's own iterator it leaves the stream alone when the
 * reader stops early: an answer can still be sent, and what is left of the body thrown away. A chunk is the reader's
 * until it asks for the next one. Reading throws a Refusal when the client stalls, seen up to a quarter of `idleMs`
 * late, or breaks off.
 */
export class RequestBody implements AsyncIterable<Uint8Array>, AsyncIterator<Uint8Array, undefined> {
  readonly #stream: Readable;
  readonly #limits: BodyLimits;
  readonly #chunks: Uint8Array[] = [];
  #ahead = 0;
  /** How it ended: whole, unless with an error. */
  #end: { readonly error?: unknown } | undefined;
  #waiting: PromiseWithResolvers<Next> | undefined;
  #checksInVain = 0;
  #idle: Disposable | undefined;

  constructor(stream: Readable, limits: BodyLimits) {
    this.#stream = stream;
    this.#limits = limits;
  }

  [Symbol.asyncIterator](): this {
    if (this.#stream.readableEnded) this.#finish({});
    else if (this.#stream.destroyed) this.#finish({ error: brokenOff(this.#stream.errored) });
    else if (this.#end === undefined) this.#listen();
    return this;
  }

  next(): Promise<Next> {
    const value = this.#chunks.shift();
    if (value !== undefined) {
      this.#ahead -= value.byteLength;
      if (this.#ahead <= AHEAD_BYTES / 2 && this.#end === undefined) this.#stream.resume();
      return Promise.resolve({ done: false, value });
    }
    if (this.#end !== undefined) return this.#end.error === undefined ? ENDED : Promise.reject(this.#end.error);
    this.#checksInVain = 0;
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  return(): Promise<Next> {
    if (this.#end === undefined) this.#stream.pause();
    this.#finish({});
    this.#chunks.length = 0;
    return ENDED;
  }

  /** Whoever reads sees it broken off; the stream is the caller's. */
  abandon(): void {
    this.#finish({ error: brokenOff(undefined) });
    this.#chunks.length = 0;
  }

  #listen(): void {
    this.#stream
      .on("data", this.#onData)
      .on("end", this.#onEnd)
      .on("error", this.#onBroken)
      .on("close", this.#onBroken)
      .on("aborted", this.#onBroken);
    this.#watch();
  }

  readonly #onData = (chunk: Uint8Array): void => {
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      waiting.resolve({ done: false, value: chunk });
      return;
    }
    this.#chunks.push(chunk);
    this.#ahead += chunk.byteLength;
    if (this.#ahead >= AHEAD_BYTES) this.#stream.pause();
  };

  readonly #onEnd = (): void => this.#finish({});

  readonly #onBroken = (error?: unknown): void => this.#finish({ error: brokenOff(error) });

  /** One timer at a time, however many chunks come: it counts how often nothing has come since the last look. */
  #watch(): void {
    const { idleMs, timers } = this.#limits;
    this.#idle = timers.after(idleMs / IDLE_CHECKS, () => {
      if (this.#waiting === undefined) this.#checksInVain = 0;
      else this.#checksInVain += 1;
      if (this.#checksInVain <= IDLE_CHECKS) this.#watch();
      else this.#finish({ error: stalled(idleMs) });
    });
  }

  #finish(end: { readonly error?: unknown }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#idle?.[Symbol.dispose]();
    this.#stream
      .off("data", this.#onData)
      .off("end", this.#onEnd)
      .off("error", this.#onBroken)
      .off("close", this.#onBroken)
      .off("aborted", this.#onBroken);
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (end.error === undefined) {
      waiting?.resolve(OVER);
      return;
    }
    // Whoever asked may be gone by now.
    waiting?.promise.catch(() => undefined);
    waiting?.reject(end.error);
  }
}

/** The client sent nothing of a body for so long. */
export function stalled(idleMs: number): Refusal {
  return new Refusal("BLOB_UPLOAD_INVALID", `no byte of the body came for ${idleMs} ms`, { status: 408 });
}

/** The client left before its body was whole. */
export function brokenOff(cause: unknown): Refusal {
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
