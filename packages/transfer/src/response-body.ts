import type { IncomingMessage } from "node:http";
import { ContentError } from "@meridian/oci";
import type { ByteSink } from "@meridian/storage";
import { ByteHeader, kindOf } from "./byte-protocol.ts";

// What may gather while a sink is busy. It gets all of it at once: packets are small, and each write costs a turn.
const GATHER_BYTES = 256 * 1024;

/**
 * Sends `length` bytes of a response's body to a sink, reading little further while the sink is busy. What follows is
 * left; the response is destroyed on any failure.
 * @throws ContentError `unavailable` when the body ends early, or the kind that the peer's trailer names; what the sink throws.
 */
export function pumpBody(
  response: IncomingMessage,
  length: number,
  sink: ByteSink,
  signal?: AbortSignal,
): Promise<void> {
  if (signal?.aborted) {
    response.destroy();
    return Promise.reject(signal.reason);
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const settle = (error?: unknown): void => {
    response.off("data", onData).off("end", onEnd).off("close", onEnd);
    signal?.removeEventListener("abort", onAbort);
    if (error === undefined) {
      resolve();
      return;
    }
    response.destroy();
    reject(error);
  };
  const pump = new BodyPump(response, length, sink, settle);
  const onAbort = (): void => pump.settle(signal?.reason);
  const onData = (chunk: Buffer): void => pump.take(chunk);
  const onEnd = (): void => pump.end();
  signal?.addEventListener("abort", onAbort, { once: true });
  response.on("end", onEnd).on("close", onEnd).on("data", onData);
  if (response.readableEnded || response.destroyed) pump.end();
  return promise;
}

class BodyPump {
  readonly #response: IncomingMessage;
  readonly #sink: ByteSink;
  readonly #settled: (error?: unknown) => void;
  #left: number;
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #writing = false;
  #ended = false;
  #over = false;

  constructor(response: IncomingMessage, length: number, sink: ByteSink, settled: (error?: unknown) => void) {
    this.#response = response;
    this.#left = length;
    this.#sink = sink;
    this.#settled = settled;
  }

  /** A part of the body has arrived. */
  take(arrived: Buffer): void {
    if (this.#over || this.#left === 0) return;
    const chunk = arrived.length > this.#left ? arrived.subarray(0, this.#left) : arrived;
    this.#left -= chunk.length;
    if (!this.#writing) {
      this.#write(chunk);
      return;
    }
    this.#gathered.push(chunk);
    this.#gatheredBytes += chunk.length;
    if (this.#gatheredBytes >= GATHER_BYTES) this.#response.pause();
  }

  /** No more will arrive. */
  end(): void {
    this.#ended = true;
    if (!this.#writing && this.#left > 0) this.settle(endedEarly(this.#response, this.#left));
  }

  settle(error?: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#settled(error);
  }

  #write(chunk: Buffer): void {
    let writing: void | Promise<void>;
    try {
      writing = this.#sink.write(chunk);
    } catch (error) {
      this.settle(error);
      return;
    }
    if (writing === undefined) {
      if (this.#left === 0 && this.#gathered.length === 0) this.settle();
      return;
    }
    this.#writing = true;
    writing.then(
      () => this.#written(),
      (error: unknown) => this.settle(error),
    );
  }

  #written(): void {
    this.#writing = false;
    if (this.#over) return;
    if (this.#gathered.length > 0) {
      const [only] = this.#gathered;
      const next = this.#gathered.length === 1 && only ? only : Buffer.concat(this.#gathered, this.#gatheredBytes);
      this.#gathered = [];
      this.#gatheredBytes = 0;
      this.#response.resume();
      this.#write(next);
    } else if (this.#left === 0) {
      this.settle();
    } else if (this.#ended) {
      this.end();
    }
  }
}

/** Reads a short body as text; stops at 4 KiB. */
export async function readShortText(response: IncomingMessage): Promise<string> {
  let text = "";
  response.setEncoding("utf8");
  for await (const part of response) {
    text += String(part);
    if (text.length > 4096) break;
  }
  return text.slice(0, 4096);
}

function endedEarly(response: IncomingMessage, left: number): ContentError {
  const kind = response.trailers[ByteHeader.error];
  if (kind !== undefined)
    return new ContentError(kindOf(kind), `the node broke off ${left} bytes before the end: ${kind}`);
  return new ContentError("unavailable", `the connection ended ${left} bytes before the end`);
}
