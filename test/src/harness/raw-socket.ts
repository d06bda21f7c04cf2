import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { until } from "./until.ts";

/** An HTTP/1.1 answer read off a socket. */
export interface SocketAnswer {
  readonly status: number;
  /** Status line and headers as sent. */
  readonly head: string;
  readonly body: string;
}

/** A TLS connection on which a test says exactly what it wants, byte by byte. */
export class RawSocket implements Disposable {
  readonly #socket: TLSSocket;
  #received = Buffer.alloc(0);
  /** What ended the connection from the other side: undefined while it is open, else "end" or the error's code. */
  closed: string | undefined;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
    socket.on("end", () => {
      this.closed ??= "end";
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.closed = error.code ?? error.message;
    });
  }

  static async open(origin: string, ca: string): Promise<RawSocket> {
    const { hostname, port } = new URL(origin);
    const socket = connect({ host: hostname, port: Number(port), ca, ALPNProtocols: ["http/1.1"] });
    await once(socket, "secureConnect");
    return new RawSocket(socket);
  }

  /** Resolves once the bytes have left; after the other side has closed, at once. */
  send(bytes: string | Buffer): Promise<void> {
    return new Promise((done) => {
      if (this.#socket.writable) this.#socket.write(bytes, () => done());
      else done();
    });
  }

  /** The next whole answer (with a Content-Length, or without body). */
  async answer(timeoutMs = 20_000): Promise<SocketAnswer> {
    return await until(
      `an answer on the socket (${this.closed ?? "open"})`,
      () => {
        const end = this.#received.indexOf("\r\n\r\n");
        if (end < 0) return false;
        const head = this.#received.subarray(0, end).toString("latin1");
        const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
        if (this.#received.length < end + 4 + length) return false;
        const body = this.#received.subarray(end + 4, end + 4 + length).toString();
        this.#received = this.#received.subarray(end + 4 + length);
        return { status: Number(head.split(" ")[1]), head, body };
      },
      timeoutMs,
    );
  }

  /** Breaks the connection off. */
  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
