import type { IncomingMessage } from "node:http";
import { ContentError } from "@meridian/oci";
import type { ByteSink } from "@meridian/storage";
import { ByteHeader, kindOf } from "./byte-protocol.ts";

/**
 * Sends `length` bytes of a response's body to a sink, reading no further while the sink is busy. What follows is left;
 * the response is destroyed on any failure.
 * @throws ContentError `unavailable` when the body ends early, or the kind that the peer's trailer names; what the sink throws.
 */
export function pumpBody(
  response: IncomingMessage,
  length: number,
  sink: ByteSink,
  signal?: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let left = length;
  let writing = false;
  let over = false;

  const settle = (error?: unknown): void => {
    if (over) return;
    over = true;
    response.off("readable", drain).off("end", onEnd).off("close", onEnd);
    signal?.removeEventListener("abort", onAbort);
    if (error === undefined) {
      resolve();
      return;
    }
    response.destroy();
    reject(error);
  };
  const onAbort = (): void => settle(signal?.reason);
  const onEnd = (): void => {
    if (writing) return;
    if (left > 0) settle(endedEarly(response, left));
  };
  const afterWrite = (): void => {
    writing = false;
    if (over) return;
    if (left === 0) settle();
    else if (response.readableEnded || response.destroyed) onEnd();
    else drain();
  };
  // The readable event with read() hands over everything that has arrived meanwhile as one chunk.
  const drain = (): void => {
    while (!writing && !over && left > 0) {
      const arrived = response.read() as Buffer | null;
      if (arrived === null) return;
      const chunk = arrived.length > left ? arrived.subarray(0, left) : arrived;
      left -= chunk.length;
      let result: void | Promise<void>;
      try {
        result = sink.write(chunk);
      } catch (error) {
        settle(error);
        return;
      }
      if (result !== undefined) {
        writing = true;
        result.then(afterWrite, settle);
      }
    }
    if (left === 0 && !writing) settle();
  };

  if (signal?.aborted) {
    response.destroy();
    return Promise.reject(signal.reason);
  }
  response.on("readable", drain).on("end", onEnd).on("close", onEnd);
  signal?.addEventListener("abort", onAbort, { once: true });
  if (length === 0) settle();
  else if (response.readableEnded || response.destroyed) onEnd();
  else drain();
  return promise;
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
