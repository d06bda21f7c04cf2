import type { Clock } from "@meridian/runtime";
import type { FrameWriter } from "./frame-writer.ts";
import {
  DEFAULT_WINDOW,
  Flag,
  FRAME_HEAD_BYTES,
  FrameType,
  MAX_FRAME_BYTES,
  MAX_WINDOW,
  putFrameHead,
} from "./frames.ts";
import type { Http2Stream } from "./http2-stream.ts";

/** Bytes that may wait in the socket before streams have to: enough for full speed, little enough for many connections. */
const AHEAD_BYTES = 256 * 1024;

/** Sends the bodies of a connection's streams, a frame of each in turn, as far as the client's windows allow. */
export class SendQueue {
  readonly #writer: FrameWriter;
  readonly #clock: Clock;
  #queue: Http2Stream[] = [];
  #window = DEFAULT_WINDOW;
  #sentAt = 0;

  constructor(writer: FrameWriter, clock: Clock) {
    this.#writer = writer;
    this.#clock = clock;
  }

  /** False when the window grows beyond what one may be (RFC 9113 §6.9.1). */
  widen(bytes: number): boolean {
    this.#window += bytes;
    return this.#window <= MAX_WINDOW;
  }

  /** The stream has a new chunk. A small one goes at once where nobody waits. */
  begin(stream: Http2Stream): void {
    stream.progressAt = this.#clock.monotonic();
    const length = stream.chunk?.bytes.length ?? 0;
    if (length <= MAX_FRAME_BYTES && this.#queue.length === 0) this.#sendFrame(stream);
    this.add(stream);
    // Otherwise the turn of all comes when everything that arrived is read.
    if (!this.#writer.isHeld) this.pump();
  }

  /** True when the client has not let anything more of the stream come since `before`, monotonic. */
  isStuck({ chunk, sendWindow, progressAt }: Http2Stream, before: number): boolean {
    if (chunk === undefined) return false;
    return sendWindow <= 0 ? progressAt < before : this.#window <= 0 && this.#sentAt < before;
  }

  /** The stream may have become able to send. */
  add(stream: Http2Stream): void {
    if (stream.isQueued || stream.chunk === undefined || stream.sendWindow <= 0) return;
    stream.isQueued = true;
    this.#queue.push(stream);
  }

  pump(): void {
    const queue = this.#queue;
    let next = 0;
    while (next < queue.length && this.#window > 0 && this.#writer.waitingBytes < AHEAD_BYTES) {
      const stream = queue[next++]!;
      stream.isQueued = false;
      this.#sendFrame(stream);
      this.add(stream);
    }
    if (next > 0) this.#queue = queue.slice(next);
  }

  #sendFrame(stream: Http2Stream): void {
    const { chunk } = stream;
    if (chunk === undefined) return;
    const length = Math.min(MAX_FRAME_BYTES, chunk.bytes.length - chunk.at, stream.sendWindow, this.#window);
    if (length <= 0) return;
    const end = chunk.at + length;
    const isWhole = end === chunk.bytes.length;
    const head = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
    putFrameHead(head, 0, length, FrameType.data, isWhole && chunk.isLast ? Flag.endStream : 0, stream.id);
    this.#writer.push(head);
    this.#writer.push(chunk.bytes.subarray(chunk.at, end), isWhole ? chunk.settle : undefined);
    this.#window -= length;
    stream.sendWindow -= length;
    this.#sentAt = this.#clock.monotonic();
    stream.progressAt = this.#sentAt;
    chunk.at = end;
    if (!isWhole) return;
    stream.chunk = undefined;
    if (chunk.isLast) stream.over();
  }
}
