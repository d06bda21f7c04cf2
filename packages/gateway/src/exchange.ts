/** Header names and values in turn, as they go on the wire. */
export type HeaderList = readonly string[];

/** Where the bytes of an answer go. Each chunk is the sink's until the returned promise settles. */
export interface AnswerBody {
  /** Rejects once the client is gone. */
  write(chunk: Uint8Array): Promise<void>;
  end(): void;
  /** Cuts the answer off so that the client sees it is not whole. */
  abort(): void;
}

/** One request and its answer, over HTTP/1.1 or HTTP/2. */
export interface Exchange {
  readonly method: string;
  /** The path as sent, without the query. */
  readonly path: string;
  /** Without "?"; empty when there is none. */
  readonly query: string;
  /** A request header by its lower-case name. Undefined when absent. */
  header(name: string): string | undefined;
  /** The socket's peer. */
  readonly peerAddress: string;
  /** True over TLS. */
  readonly encrypted: boolean;
  /** The Host header, or :authority. */
  readonly host: string | undefined;
  /** True when the request carries a body, be it empty. */
  readonly hasBody: boolean;
  /** The body's declared length; undefined when it is chunked or there is none. */
  readonly bodyLength: number | undefined;
  /** The body, once. Sends 100 Continue when the client waits for it. Throws when the body stalls or breaks off. */
  body(): AsyncIterable<Uint8Array>;
  /** Aborts when the client goes away before the answer is complete. */
  readonly signal: AbortSignal;
  /** The status sent; 0 before. */
  readonly status: number;
  /**
   * Sends a whole answer. Without `body` and without Content-Length in `headers` it is empty. A HEAD request gets the
   * headers alone. A string is sent as latin1.
   */
  send(status: number, headers: HeaderList, body?: string | Uint8Array): void;
  /** Sends status and headers; the bytes follow. */
  begin(status: number, headers: HeaderList): AnswerBody;
  /** True when the request's trace is sampled: its steps are then worth spans. Set once, before it is handled. */
  traced: boolean;
}

/** The methods that never change anything. */
export function isRead(method: string): boolean {
  return method === "GET" || method === "HEAD";
}
