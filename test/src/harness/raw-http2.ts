import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type Settings } from "node:http2";
import { type RawAnswer, type RawRequest, rawAnswer } from "./raw-http.ts";

/** Plain HTTP/2 requests over one connection to a gateway: no login, no retries, no redirects. */
export class RawHttp2 implements Disposable {
  readonly origin: string;
  readonly #session: ClientHttp2Session;

  constructor(origin: string, ca: string) {
    this.origin = origin;
    this.#session = connect(origin, { ca });
    // A request that fails says so itself.
    this.#session.on("error", () => undefined);
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }

  /** What the gateway announced when the connection was made. */
  settings(): Promise<Settings> {
    return new Promise((done) => {
      if (this.#session.remoteSettings.initialWindowSize !== undefined && !this.#session.connecting) {
        done(this.#session.remoteSettings);
      } else this.#session.once("remoteSettings", done);
    });
  }

  /** Bytes that may be sent on the whole connection before the gateway has read any of them. */
  get sessionWindow(): number {
    return this.#session.state.remoteWindowSize ?? 0;
  }

  ask(method: string, target: string, { headers, body, chunked }: RawRequest = {}): Promise<RawAnswer> {
    return new Promise((done, failed) => {
      const { pathname, search } = new URL(target, this.origin);
      const length = body === undefined || chunked ? {} : { "content-length": String(Buffer.byteLength(body)) };
      const stream = this.#session.request(
        { ...headers, ":method": method, ":path": pathname + search, ...length },
        { endStream: body === undefined },
      );
      const chunks: Buffer[] = [];
      let answer: IncomingHttpHeaders & { ":status"?: number } = {};
      stream.on("response", (received) => {
        answer = received;
      });
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("error", failed);
      stream.on("end", () => done(rawAnswer(answer[":status"] ?? 0, answer, Buffer.concat(chunks))));
      stream.setTimeout(60_000, () => stream.close());
      if (body !== undefined) stream.end(body);
    });
  }
}
