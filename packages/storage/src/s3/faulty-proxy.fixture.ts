import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Transform } from "node:stream";

/** What happens to a request instead of, or after, being passed on. */
export type Fault =
  /** Answered by the proxy: 503 with this S3 code. */
  | { readonly refuse: string }
  /** The answer is cut off after so many bytes of its body. */
  | { readonly cutAfter: number }
  /** Passed on, but the answer never arrives: the connection breaks. */
  | "lose the answer"
  /** Nothing is ever said. */
  | "hang";

/** Stands between a store and a bucket, notes every request, and does to it what the test says. */
export class FaultyProxy implements AsyncDisposable {
  /** "METHOD /path?query" of every request so far. */
  readonly seen: string[] = [];
  /** Bytes of bodies that were passed on to the bucket. */
  passedOn = 0;
  /** How fast a body is passed on, each by itself; absent: as fast as it comes. */
  bytesPerMs: number | undefined;
  /** Asked for every request; undefined passes it on. */
  fault: (line: string) => Fault | undefined = () => undefined;
  readonly #server: Server;
  readonly #target: URL;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((incoming, response) => this.#serve(incoming, response));
  }

  static async start(target: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(target);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #serve(incoming: IncomingMessage, response: ServerResponse): void {
    const line = `${incoming.method} ${incoming.url}`;
    this.seen.push(line);
    const fault = this.fault(line);
    if (fault === "hang") return void incoming.resume();
    if (typeof fault === "object" && "refuse" in fault) {
      incoming.resume();
      response.statusCode = 503;
      response.end(`<?xml version="1.0"?><Error><Code>${fault.refuse}</Code><Message>later</Message></Error>`);
      return;
    }
    const { hostname, port } = this.#target;
    // With the headers as they are: the signature is of the host that the client named.
    const options = { hostname, port, method: incoming.method, path: incoming.url, headers: incoming.headers };
    const onward = request(options, (answer) => {
      if (fault === "lose the answer") {
        answer.resume();
        answer.once("end", () => incoming.socket.destroy());
        return;
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      if (fault === undefined) answer.pipe(response);
      else sendPart(answer, response, fault.cutAfter);
    });
    onward.on("error", () => incoming.socket.destroy());
    incoming.pipe(this.#paced()).pipe(onward);
  }

  #paced(): Transform {
    return new Transform({
      transform: (chunk: Buffer, _encoding, done) => {
        this.passedOn += chunk.length;
        const next = (): void => done(null, chunk);
        if (this.bytesPerMs === undefined) next();
        else setTimeout(next, chunk.length / this.bytesPerMs);
      },
    });
  }
}

function sendPart(answer: IncomingMessage, response: ServerResponse, bytes: number): void {
  let left = bytes;
  answer.on("data", (chunk: Buffer) => {
    const part = chunk.subarray(0, left);
    left -= part.length;
    response.write(part);
    if (left > 0) return;
    answer.destroy();
    // After what was written before.
    response.write("", () => response.socket?.destroy());
  });
  answer.on("end", () => response.end());
}
