import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Clock } from "@meridian/runtime";
import type { AnswerHeads } from "./answer-head.ts";
import type { Exchange, HeaderList } from "./exchange.ts";
import { type AnswerLine, LaneExchange } from "./lane-exchange.ts";
import { type HeadFields, readHead } from "./request-head.ts";
import type { HeldAnswers, TurnOfAnswers } from "./turn-of-answers.ts";

/** What the connections of a read lane share. */
export interface LaneParts {
  readonly heads: AnswerHeads;
  readonly turn: TurnOfAnswers;
  readonly clock: Clock;
  readonly handle: (exchange: Exchange) => void;
  /** A client that takes nothing of what waits for it for so long is cut off, in milliseconds. */
  readonly answerIdleMs: number;
  /** Gives the connection to node's HTTP server, as if it had just been accepted. */
  readonly handOver: (socket: Socket) => void;
  /** The connection is not the lane's any more. */
  readonly left: (connection: LaneConnection) => void;
  /** True once the server stops: each connection ends with its next answer. */
  closing: boolean;
}

/** A head that is longer is for node's parser. */
const MAX_HEAD_BYTES = 8 * 1024;

/**
 * One connection of the read lane. One request at a time: what a client sends ahead waits unread. The first request
 * that is not for the lane takes the connection to node's server for good, with all bytes that nobody has answered yet.
 */
export class LaneConnection implements AnswerLine, HeldAnswers {
  readonly peerAddress: string;
  readonly encrypted: boolean;
  gone = false;
  /** Monotonic time of the last answer's end, or of the start; undefined while one is under way. */
  idleSince: number | undefined;
  served = false;
  readonly #socket: Socket;
  readonly #parts: LaneParts;
  #fields: HeadFields | undefined;
  #busy: LaneExchange | undefined;
  #full = false;
  #held = false;
  #watched = false;
  #taking = false;
  #ended = false;
  #ahead: Buffer | undefined;

  constructor(socket: Socket, parts: LaneParts) {
    this.#socket = socket;
    this.#parts = parts;
    this.peerAddress = socket.remoteAddress ?? "";
    this.encrypted = (socket as TLSSocket).encrypted === true;
    this.idleSince = parts.clock.monotonic();
    socket
      .on("data", this.#onData)
      .on("drain", this.#onDrain)
      .on("end", this.#onEnd)
      .on("error", this.#onError)
      .on("close", this.#onClose);
  }

  head(status: number, headers: HeaderList, bodyBytes: number): string {
    return this.#parts.heads.write(status, headers, bodyBytes, this.#isLast());
  }

  write(head: string, body: string | Uint8Array | undefined, done?: (error?: Error | null) => void): void {
    const socket = this.#socket;
    if (this.gone) return;
    // A whole answer; pieces of a body are timed by when they are taken.
    if (done === undefined && !this.#held) this.#hold();
    if (body === undefined || typeof body === "string") {
      socket.write(body === undefined ? head : head + body, "latin1", done);
    } else if (head === "") {
      socket.write(body, done);
    } else {
      socket.cork();
      socket.write(head, "latin1");
      socket.write(body, done);
      socket.uncork();
    }
    if (!this.#held && !this.#watched && socket.writableLength > 0) this.#watch();
  }

  /** What was written leaves with the other answers of this turn. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#socket.uncork();
    if (!this.gone && !this.#watched && this.#socket.writableLength > 0) this.#watch();
  }

  done(): void {
    this.#busy = undefined;
    this.served = true;
    if (this.gone) return;
    if (this.#isLast()) {
      this.close();
      return;
    }
    const { writableNeedDrain, writableLength } = this.#socket;
    // What was taken at once is no reason to wait for the event that says so.
    if (writableNeedDrain && writableLength > 0) {
      this.#full = true;
      return;
    }
    this.idleSince = this.#parts.clock.monotonic();
    this.#goOn();
  }

  cut(): void {
    // Answers before it are whole.
    this.release();
    this.#socket.destroy();
  }

  /** Ends it once everything is sent. */
  close(): void {
    this.#socket.destroySoon();
  }

  #hold(): void {
    this.#held = true;
    this.#socket.cork();
    this.#parts.turn.hold(this);
  }

  /** Node's time-out starts again with each byte that comes or leaves. It is set when the first answer has to wait. */
  #watch(): void {
    this.#watched = true;
    this.#socket.setTimeout(this.#parts.answerIdleMs, this.#onTimeout);
  }

  /** Silence is no fault of the client while nothing waits for it. */
  readonly #onTimeout = (): void => {
    if (this.#socket.writableLength > 0) this.cut();
  };

  #isLast(): boolean {
    return this.#ended || this.#parts.closing || this.#fields?.last === true;
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#busy === undefined && !this.#full) {
      this.#take(chunk);
      return;
    }
    this.#ahead = this.#ahead === undefined ? chunk : Buffer.concat([this.#ahead, chunk]);
    this.#socket.pause();
  };

  /** Answers what the bytes hold, one request after the other. */
  #take(chunk: Buffer): void {
    let rest: Buffer | undefined = chunk;
    this.#taking = true;
    while (rest !== undefined && this.#busy === undefined && !this.#full) {
      const text: string = rest.toString("latin1", 0, Math.min(rest.length, MAX_HEAD_BYTES));
      const end: number = text.indexOf("\r\n\r\n");
      const head = end < 0 ? undefined : readHead(text, end, this.#fields);
      if (head === undefined) {
        this.#taking = false;
        this.#handOver(rest);
        return;
      }
      rest = rest.length > end + 4 ? rest.subarray(end + 4) : undefined;
      this.#fields = head.fields;
      this.#begin(new LaneExchange(head, this));
      if (this.gone || this.#socket.writableEnded) rest = undefined;
    }
    this.#taking = false;
    if (rest === undefined) return;
    this.#ahead = rest;
    this.#socket.pause();
  }

  #begin(exchange: LaneExchange): void {
    this.#busy = exchange;
    this.idleSince = undefined;
    this.#parts.handle(exchange);
  }

  /** Turns to what was sent ahead, unless the loop that called is about to. */
  #goOn(): void {
    if (this.#taking || this.#ahead === undefined) return;
    const ahead = this.#ahead;
    this.#ahead = undefined;
    this.#socket.resume();
    this.#take(ahead);
  }

  #handOver(unread: Buffer): void {
    const socket = this.#socket;
    this.release();
    this.#leave();
    socket
      .off("data", this.#onData)
      .off("drain", this.#onDrain)
      .off("end", this.#onEnd)
      .off("error", this.#onError)
      .off("close", this.#onClose);
    if (this.#watched) socket.setTimeout(0, this.#onTimeout);
    socket.pause();
    socket.unshift(unread);
    this.#parts.handOver(socket);
    socket.resume();
  }

  #leave(): void {
    this.gone = true;
    this.#parts.left(this);
  }

  readonly #onDrain = (): void => {
    if (!this.#full) return;
    this.#full = false;
    this.idleSince = this.#parts.clock.monotonic();
    this.#goOn();
  };

  /** The client sends no more, but reads on until it has its answer. */
  readonly #onEnd = (): void => {
    this.#ended = true;
    if (this.#busy === undefined) this.close();
  };

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#leave();
    const lost = this.#busy;
    this.#busy = undefined;
    lost?.lost();
  };
}
