import type { Socket } from "node:net";
import type { Clock } from "@meridian/runtime";
import type { Exchange, HeaderList } from "../exchange.ts";
import type { ExchangeLimits } from "../http1-exchange.ts";
import type { AnswerFields } from "./answer-fields.ts";
import { ConnectionError, ErrorCode } from "./errors.ts";
import { FrameReader } from "./frame-reader.ts";
import { FrameWriter } from "./frame-writer.ts";
import { Setting, settingsFrame } from "./frames.ts";
import { Http2Stream, type StreamLine } from "./http2-stream.ts";
import { IncomingFrames } from "./incoming-frames.ts";
import { OutgoingFrames } from "./outgoing-frames.ts";
import { ReceiveWindow, SESSION_WINDOW, STREAM_WINDOW } from "./receive-window.ts";
import type { RequestFields } from "./request-fields.ts";

/** What the connections of a server share. */
export interface Http2Parts {
  readonly heads: AnswerFields;
  readonly clock: Clock;
  readonly limits: ExchangeLimits;
  /** Of a request's fields. */
  readonly maxHeaderBytes: number;
  readonly handle: (exchange: Exchange) => void;
  /** The connection has ended. */
  readonly left: (connection: Http2Connection) => void;
}

const MAX_STREAMS = 256;
/** A client for which so much waits asks, but does not read: it is not listened to meanwhile. */
const MAX_WAITING_BYTES = 1024 * 1024;

/** The server's side of one connection that speaks HTTP/2 (RFC 9113). */
export class Http2Connection implements StreamLine {
  readonly peerAddress: string;
  readonly limits: ExchangeLimits;
  /** Monotonic time of the last stream's end, or of the start; undefined while there is one. */
  idleSince: number | undefined;
  /** False until a request came. */
  served = false;
  readonly streams = new Map<number, Http2Stream>();
  readonly window = new ReceiveWindow(SESSION_WINDOW);
  readonly outgoing: OutgoingFrames;
  readonly #socket: Socket;
  readonly #parts: Http2Parts;
  readonly #reader = new FrameReader();
  readonly #writer: FrameWriter;
  readonly #incoming: IncomingFrames;
  #isClosing = false;
  #isOver = false;
  #isPaused = false;

  constructor(socket: Socket, parts: Http2Parts) {
    const { clock, maxHeaderBytes } = parts;
    this.#socket = socket;
    this.#parts = parts;
    this.limits = parts.limits;
    this.peerAddress = socket.remoteAddress ?? "";
    this.idleSince = clock.monotonic();
    this.#writer = new FrameWriter(socket, clock, () => this.#onTaken());
    this.outgoing = new OutgoingFrames(this.#writer, parts.heads, clock);
    this.#incoming = new IncomingFrames(this, { clock, maxHeaderBytes });
    this.#writer.push(
      settingsFrame([
        [Setting.maxConcurrentStreams, MAX_STREAMS],
        [Setting.initialWindowSize, STREAM_WINDOW],
        [Setting.maxHeaderListSize, maxHeaderBytes],
      ]),
    );
    this.outgoing.widen(0, this.window.opening);
    socket.on("data", this.#onData).on("end", this.#onEnd).on("error", this.#onError).on("close", this.#onClose);
  }

  /** Takes no more streams, and ends with the last. */
  close(): void {
    if (!this.#isClosing && !this.#isOver) this.outgoing.goAway(this.#incoming.lastId, ErrorCode.none);
    this.#isClosing = true;
    this.#endWhenDone();
  }

  /** Cuts off what the client has taken nothing of since `before`, monotonic: a stream, or everything. */
  cutUnread(before: number): void {
    const { waitingSince } = this.#writer;
    if (waitingSince !== undefined && waitingSince < before) {
      this.#socket.destroy();
      return;
    }
    for (const stream of [...this.streams.values()])
      if (this.outgoing.queue.isStuck(stream, before)) stream.reset(ErrorCode.cancel);
  }

  /** A request has come whole, but for its body. */
  request(id: number, fields: RequestFields, hasBody: boolean): void {
    if (this.#isClosing || this.streams.size >= MAX_STREAMS) {
      if (hasBody) this.#incoming.expectRest(id);
      this.outgoing.reset(id, ErrorCode.refusedStream);
      return;
    }
    const stream = new Http2Stream(id, fields, this, { hasBody, sendWindow: this.#incoming.settings.initialWindow });
    this.streams.set(id, stream);
    this.idleSince = undefined;
    this.served = true;
    this.#parts.handle(stream);
  }

  sendHead(
    { id }: Http2Stream,
    status: number,
    headers: HeaderList,
    bodyBytes: number | undefined,
    isLast: boolean,
  ): void {
    this.outgoing.head(id, status, headers, { bodyBytes, isLast });
  }

  sendChunk(stream: Http2Stream): void {
    this.outgoing.chunk(stream);
  }

  sendEnd({ id }: Http2Stream): void {
    this.outgoing.end(id);
  }

  reset({ id, incoming }: Http2Stream, code: ErrorCode): void {
    if (this.#isOver) return;
    if (incoming?.isWhole === false) this.#incoming.expectRest(id);
    this.outgoing.reset(id, code);
  }

  afterAll(then: () => void): void {
    this.#writer.afterAll(then);
  }

  consumed({ id, incoming, isReset, isAnswered }: Http2Stream, bytes: number): void {
    if (this.#isOver) return;
    this.outgoing.widen(0, this.window.consumed(bytes));
    if (incoming !== undefined && !incoming.isWhole && !isReset && !isAnswered)
      this.outgoing.widen(id, incoming.window.consumed(bytes));
  }

  answered({ id }: Http2Stream): void {
    if (!this.streams.delete(id) || this.streams.size > 0) return;
    this.idleSince = this.#parts.clock.monotonic();
    this.#endWhenDone();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isOver) return;
    this.#writer.gather(() => {
      try {
        for (const frame of this.#reader.read(chunk)) this.#incoming.take(frame);
        this.outgoing.queue.pump();
      } catch (error) {
        this.#fail(error);
      }
    });
    if (this.#writer.waitingBytes > MAX_WAITING_BYTES) {
      this.#isPaused = true;
      this.#socket.pause();
    }
  };

  #onTaken(): void {
    if (this.#isOver) return;
    this.outgoing.queue.pump();
    if (!this.#isPaused || this.#writer.waitingBytes > MAX_WAITING_BYTES) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  /** RFC 9113 §5.4.1: tells why, and ends. */
  #fail(error: unknown): void {
    this.outgoing.goAway(this.#incoming.lastId, error instanceof ConnectionError ? error.code : ErrorCode.internal);
    this.#isOver = true;
    this.#loseStreams();
    this.#socket.destroySoon();
  }

  /** The client sends no more, but reads on until it has its answers. */
  readonly #onEnd = (): void => {
    this.#isClosing = true;
    for (const stream of [...this.streams.values()]) if (stream.incoming?.isWhole === false) stream.lost();
    this.#endWhenDone();
  };

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#isOver = true;
    this.#loseStreams();
    this.#parts.left(this);
  };

  #loseStreams(): void {
    for (const stream of [...this.streams.values()]) stream.lost();
  }

  #endWhenDone(): void {
    if (!this.#isClosing || this.streams.size > 0 || this.#isOver) return;
    this.#writer.flush();
    this.#isOver = true;
    this.#socket.destroySoon();
  }
}
