import type { IncomingMessage, ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import type { AnswerBody, Exchange, HeaderList } from "./exchange.ts";
import { type BodyLimits, RequestBody } from "./request-body.ts";

/** What an exchange needs of its gateway beside the request. */
export interface ExchangeLimits extends BodyLimits {
  /** An answer of which the client takes nothing for so long is cut off, in milliseconds. */
  readonly answerIdleMs: number;
  /** How long what is left of a body is thrown away after the answer, in milliseconds. */
  readonly discardMs: number;
}

/** An exchange over HTTP/1.1. */
export class Http1Exchange implements Exchange {
  readonly path: string;
  readonly query: string;
  traced = false;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #limits: ExchangeLimits;
  #awaitsContinue: boolean;
  #status = 0;
  #abort: AbortController | undefined;
  #body: RequestBody | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, limits: ExchangeLimits, awaitsContinue: boolean) {
    const url = request.url ?? "";
    const mark = url.indexOf("?");
    this.path = mark < 0 ? url : url.slice(0, mark);
    this.query = mark < 0 ? "" : url.slice(mark + 1);
    this.#request = request;
    this.#response = response;
    this.#limits = limits;
    this.#awaitsContinue = awaitsContinue;
  }

  get method(): string {
    return this.#request.method ?? "";
  }

  get status(): number {
    return this.#status;
  }

  get host(): string | undefined {
    return this.#request.headers.host;
  }

  get peerAddress(): string {
    return this.#request.socket.remoteAddress ?? "";
  }

  get encrypted(): boolean {
    return (this.#request.socket as TLSSocket).encrypted === true;
  }

  get hasBody(): boolean {
    const { headers } = this.#request;
    return headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
  }

  get bodyLength(): number | undefined {
    const length = this.#request.headers["content-length"];
    return length === undefined ? undefined : Number(length);
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      const abort = new AbortController();
      this.#abort = abort;
      const response = this.#response;
      response.once("close", () => {
        if (!response.writableFinished) abort.abort(clientGone());
      });
      if (response.closed && !response.writableFinished) abort.abort(clientGone());
    }
    return this.#abort.signal;
  }

  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return typeof value === "object" ? value.join(", ") : value;
  }

  body(): AsyncIterable<Uint8Array> {
    if (this.#awaitsContinue) {
      this.#awaitsContinue = false;
      this.#response.writeContinue();
    }
    this.#body = new RequestBody(this.#request, this.#limits);
    return this.#body;
  }

  send(status: number, headers: HeaderList, body?: string | Uint8Array): void {
    const response = this.#response;
    this.#status = status;
    response.writeHead(status, headers as string[]);
    if (typeof body === "string") response.end(body, "latin1");
    else if (body === undefined) response.end();
    else response.end(body);
    // A request without body is not complete yet either while its handler runs.
    const unread = this.#body !== undefined && !this.#request.readableEnded;
    if (this.hasBody && (unread || !this.#request.complete)) this.#discardBody();
    if (response.writableLength > 0) this.#cutWhenUnread();
  }

  begin(status: number, headers: HeaderList): AnswerBody {
    this.#status = status;
    const response = this.#response;
    const signal = this.signal;
    response.writeHead(status, headers as string[]);
    this.#cutWhenUnread();
    return {
      write: (chunk) => writeChunk(response, chunk, signal, () => this.#abort?.abort(clientGone())),
      end: () => response.end(),
      abort: () => response.destroy(),
    };
  }

  /** Node's time-out starts again with each byte that leaves. Silence is no fault of the client while nothing waits for it. */
  #cutWhenUnread(): void {
    const response = this.#response;
    response.setTimeout(this.#limits.answerIdleMs, () => {
      if (response.writableLength > 0) response.destroy();
    });
  }

  /** An early answer on a body: the connection stays open, so that the client reads the answer (RFC 9112 §9.6). */
  #discardBody(): void {
    const request = this.#request;
    // A reader that still waits for more would hold the stream up.
    this.#body?.abandon();
    request.resume();
    const limit = this.#limits.timers.after(this.#limits.discardMs, () => request.destroy());
    const settled = (): void => limit[Symbol.dispose]();
    request.once("end", settled).once("close", settled).on("error", settled);
  }
}

/** Resolves when the chunk left this process's memory: its buffer is used again afterwards. */
function writeChunk(
  response: ServerResponse,
  chunk: Uint8Array,
  signal: AbortSignal,
  onGone: () => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    response.write(chunk, (error) => {
      if (error) onGone();
      signal.removeEventListener("abort", onAbort);
      if (error) reject(error);
      else resolve();
    });
  });
}

function clientGone(): Error {
  return new Error("the client went away");
}
