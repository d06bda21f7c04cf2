import type { AnswerBody, Exchange, HeaderList } from "../exchange.ts";
import type { ExchangeLimits } from "../http1-exchange.ts";
import { ErrorCode } from "./errors.ts";
import { IncomingBody } from "./incoming-body.ts";
import type { RequestFields } from "./request-fields.ts";

/** What a stream does with the connection that it belongs to. */
export interface StreamLine {
  readonly peerAddress: string;
  readonly limits: ExchangeLimits;
  /** @throws TypeError for values that no field may hold. */
  sendHead(
    stream: Http2Stream,
    status: number,
    headers: HeaderList,
    bodyBytes: number | undefined,
    isLast: boolean,
  ): void;
  /** Sends `stream.chunk` as fast as the windows allow. */
  sendChunk(stream: Http2Stream): void;
  /** Sends the empty frame that ends the stream. */
  sendEnd(stream: Http2Stream): void;
  reset(stream: Http2Stream, code: ErrorCode): void;
  /** Calls `then` once nothing that was sent so far is in use any more. */
  afterAll(then: () => void): void;
  /** So many bytes of the body are not in memory any more. */
  consumed(stream: Http2Stream, bytes: number): void;
  /** The answer is complete, or will never be. */
  answered(stream: Http2Stream): void;
}

/** What is being sent. */
export interface OutgoingChunk {
  readonly bytes: Uint8Array;
  /** Where the unsent part begins. */
  at: number;
  /** The stream ends with it. */
  readonly isLast: boolean;
  readonly settle?: (error: Error | undefined) => void;
}

const NO_BODY: AsyncIterable<Uint8Array> = (async function* () {})();

/** One stream of HTTP/2: a request and its answer. */
export class Http2Stream implements Exchange {
  readonly id: number;
  readonly fields: RequestFields;
  readonly hasBody: boolean;
  traced = false;
  status = 0;
  /** Bytes that the client takes now. */
  sendWindow: number;
  /** The body; undefined when there is none. */
  readonly incoming: IncomingBody | undefined;
  chunk: OutgoingChunk | undefined;
  /** True while it stands in the queue of those that may send. */
  isQueued = false;
  /** Monotonic time of the last progress of `chunk`. */
  progressAt = 0;
  /** The answer is on its way whole, or was given up. */
  isAnswered = false;
  isReset = false;
  readonly #line: StreamLine;
  #abort: AbortController | undefined;

  constructor(
    id: number,
    fields: RequestFields,
    line: StreamLine,
    { hasBody, sendWindow }: { readonly hasBody: boolean; readonly sendWindow: number },
  ) {
    this.id = id;
    this.fields = fields;
    this.hasBody = hasBody;
    this.sendWindow = sendWindow;
    this.#line = line;
    if (hasBody) this.incoming = new IncomingBody((bytes) => line.consumed(this, bytes), fields.contentLength);
  }

  get method(): string {
    return this.fields.method;
  }

  get path(): string {
    return this.fields.path;
  }

  get query(): string {
    return this.fields.query;
  }

  get host(): string | undefined {
    return this.fields.host;
  }

  get peerAddress(): string {
    return this.#line.peerAddress;
  }

  get encrypted(): boolean {
    return true;
  }

  get bodyLength(): number | undefined {
    return this.fields.contentLength;
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.isReset) this.#abort.abort(clientGone());
    }
    return this.#abort.signal;
  }

  header(name: string): string | undefined {
    return this.fields.values.get(name);
  }

  body(): AsyncIterable<Uint8Array> {
    if (this.header("expect")?.toLowerCase() === "100-continue" && !this.isReset)
      this.#line.sendHead(this, 100, [], undefined, false);
    return this.incoming?.read(this.#line.limits) ?? NO_BODY;
  }

  send(status: number, headers: HeaderList, body?: string | Uint8Array): void {
    if (this.isReset) {
      this.status = status;
      return;
    }
    const isEmpty = !body?.length || this.#isBodyless(status);
    this.#line.sendHead(this, status, headers, body?.length ?? 0, isEmpty);
    this.status = status;
    if (isEmpty) {
      this.over();
      return;
    }
    const bytes = typeof body === "string" ? Buffer.from(body, "latin1") : body;
    this.chunk = { bytes, at: 0, isLast: true };
    this.#line.sendChunk(this);
  }

  begin(status: number, headers: HeaderList): AnswerBody {
    if (!this.isReset) this.#line.sendHead(this, status, headers, undefined, false);
    this.status = status;
    return {
      write: (bytes) => this.#write(bytes),
      end: () => {
        if (this.isReset) return;
        this.#line.sendEnd(this);
        this.over();
      },
      abort: () => this.reset(ErrorCode.internal),
    };
  }

  /** All of the answer is on its way. An early answer on a body: the client is told to stop (RFC 9113 §8.1). */
  over(): void {
    this.isAnswered = true;
    if (this.incoming?.isWhole === false) {
      this.incoming.fail(new Error("it was answered before"));
      this.incoming.discard();
      this.#line.reset(this, ErrorCode.none);
    }
    this.#line.answered(this);
  }

  /** Gives it up, and tells the client. */
  reset(code: ErrorCode): void {
    if (this.isReset || this.isAnswered) return;
    this.#line.reset(this, code);
    this.lost();
  }

  /** Neither is the client told of it nor the connection: it is what told us. */
  lost(): void {
    if (this.isReset) return;
    this.isReset = true;
    const reason = clientGone();
    this.incoming?.fail(reason);
    this.incoming?.discard();
    this.#abort?.abort(reason);
    const { chunk } = this;
    this.chunk = undefined;
    // Parts of it may be on their way still: its buffer must not hold anything else before they have left.
    if (chunk?.settle !== undefined) this.#line.afterAll(() => chunk.settle?.(reason));
    this.#line.answered(this);
  }

  #isBodyless(status: number): boolean {
    return this.method === "HEAD" || status === 204 || status === 304;
  }

  /** Resolves when the chunk left this process's memory: its buffer is used again afterwards. */
  #write(bytes: Uint8Array): Promise<void> {
    if (this.isReset) return Promise.reject(clientGone());
    if (this.method === "HEAD" || bytes.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (error: Error | undefined): void => {
        if (error === undefined) resolve();
        else {
          // Whoever reads for this client stops without looking for another source.
          this.lost();
          reject(clientGone());
        }
      };
      this.chunk = { bytes, at: 0, isLast: false, settle };
      this.#line.sendChunk(this);
    });
  }
}

function clientGone(): Error {
  return new Error("the client went away");
}
