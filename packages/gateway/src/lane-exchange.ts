import type { AnswerBody, Exchange, HeaderList } from "./exchange.ts";
import type { RequestHead } from "./request-head.ts";

/** What an exchange does with the connection that it came by. */
export interface AnswerLine {
  readonly peerAddress: string;
  readonly encrypted: boolean;
  /** True once the client cannot be answered any more. */
  readonly gone: boolean;
  /** Makes status line and fields. @throws TypeError for values that no field may hold. */
  head(status: number, headers: HeaderList, bodyBytes: number): string;
  /** Sends a head with what follows it, in one go. */
  write(head: string, body: string | Uint8Array | undefined, done?: (error?: Error | null) => void): void;
  /** The answer is complete. */
  done(): void;
  /** The answer will never be complete. */
  cut(): void;
}

/** An exchange of the read lane: HTTP/1.1, no request body. */
export class LaneExchange implements Exchange {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly hasBody = false;
  readonly bodyLength = undefined;
  traced = false;
  status = 0;
  readonly #values: ReadonlyMap<string, string>;
  readonly #line: AnswerLine;
  #abort: AbortController | undefined;
  #failWrite: ((reason: unknown) => void) | undefined;

  constructor({ method, target, fields }: RequestHead, line: AnswerLine) {
    const mark = target.indexOf("?");
    this.method = method;
    this.path = mark < 0 ? target : target.slice(0, mark);
    this.query = mark < 0 ? "" : target.slice(mark + 1);
    this.#values = fields.values;
    this.#line = line;
  }

  get peerAddress(): string {
    return this.#line.peerAddress;
  }

  get encrypted(): boolean {
    return this.#line.encrypted;
  }

  get host(): string | undefined {
    return this.#values.get("host");
  }

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#line.gone) this.#abort.abort(clientGone());
    }
    return this.#abort.signal;
  }

  header(name: string): string | undefined {
    return this.#values.get(name);
  }

  async *body(): AsyncIterable<Uint8Array> {}

  send(status: number, headers: HeaderList, body?: string | Uint8Array): void {
    const head = this.#line.head(status, headers, body?.length ?? 0);
    this.status = status;
    const bodyless = this.method === "HEAD" || status === 204 || status === 304;
    this.#line.write(head, bodyless ? undefined : body);
    this.#line.done();
  }

  begin(status: number, headers: HeaderList): AnswerBody {
    let head = this.#line.head(status, headers, 0);
    this.status = status;
    const take = (): string => {
      const unsent = head;
      head = "";
      return unsent;
    };
    return {
      write: (chunk) => this.#write(take(), this.method === "HEAD" ? undefined : chunk),
      end: () => {
        const unsent = take();
        if (unsent !== "") this.#line.write(unsent, undefined);
        this.#line.done();
      },
      abort: () => this.#line.cut(),
    };
  }

  /** The client went away before the answer was complete. */
  lost(): void {
    const reason = clientGone();
    this.#failWrite?.(reason);
    this.#abort?.abort(reason);
  }

  /** Resolves when the chunk left this process's memory: its buffer is used again afterwards. */
  #write(head: string, chunk: Uint8Array | undefined): Promise<void> {
    if (this.#line.gone) return Promise.reject(clientGone());
    return new Promise((resolve, reject) => {
      this.#failWrite = reject;
      this.#line.write(head, chunk, (error) => {
        this.#failWrite = undefined;
        if (!error) resolve();
        else {
          // Whoever reads for this client stops without looking for another source.
          this.lost();
          reject(clientGone());
        }
      });
    });
  }
}

function clientGone(): Error {
  return new Error("the client went away");
}
