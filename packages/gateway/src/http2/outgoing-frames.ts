import type { Clock } from "@meridian/runtime";
import type { HeaderList } from "../exchange.ts";
import type { AnswerFields } from "./answer-fields.ts";
import type { ErrorCode } from "./errors.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { Flag, FrameType, frameOf, frameOfNumbers } from "./frames.ts";
import { NO_TABLE } from "./hpack-encoder.ts";
import type { Http2Stream } from "./http2-stream.ts";
import { SendQueue } from "./send-queue.ts";

/** What a connection sends. */
export class OutgoingFrames {
  readonly queue: SendQueue;
  readonly #writer: FrameWriter;
  readonly #heads: AnswerFields;
  #mustTellTable = false;

  constructor(writer: FrameWriter, heads: AnswerFields, clock: Clock) {
    this.#writer = writer;
    this.#heads = heads;
    this.queue = new SendQueue(writer, clock);
  }

  /** The next head tells the client that no table is used. */
  tellTable(): void {
    this.#mustTellTable = true;
  }

  /** `bodyBytes`: of a whole answer; undefined when its length is not known here. */
  head(
    id: number,
    status: number,
    headers: HeaderList,
    { bodyBytes, isLast }: { readonly bodyBytes: number | undefined; readonly isLast: boolean },
  ): void {
    const prefix = this.#mustTellTable ? NO_TABLE : undefined;
    this.#writer.push(this.#heads.frames(id, status, headers, { bodyBytes, isLast, prefix }));
    this.#mustTellTable = false;
  }

  chunk(stream: Http2Stream): void {
    this.queue.begin(stream);
  }

  end(id: number): void {
    this.#writer.push(frameOf(FrameType.data, Flag.endStream, id));
  }

  reset(id: number, code: ErrorCode): void {
    this.#writer.push(frameOfNumbers(FrameType.rstStream, id, code));
  }

  /** `id` 0: of the connection. Nothing for 0 bytes. */
  widen(id: number, bytes: number): void {
    if (bytes > 0) this.#writer.push(frameOfNumbers(FrameType.windowUpdate, id, bytes));
  }

  /** A frame that answers one of the client's. */
  acknowledge(frame: Buffer): void {
    this.#writer.push(frame);
  }

  goAway(lastId: number, code: ErrorCode): void {
    this.#writer.push(frameOfNumbers(FrameType.goaway, 0, lastId, code));
    this.#writer.flush();
  }
}
