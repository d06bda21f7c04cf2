import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** An answer as it came. */
export interface RawAnswer {
  readonly status: number;
  /** Status line and headers. */
  readonly head: string;
  readonly body: string;
}

/** A TCP connection to a plain gateway, on which a test says exactly what it wants. */
export class RawConnection implements Disposable {
  readonly #socket: Socket;
  #received = "";
  #wake = Promise.withResolvers<void>();
  /** True once the gateway has ended the connection. */
  closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#received += text;
      this.#notify();
    });
    const onClosed = (): void => {
      this.closed = true;
      this.#notify();
    };
    socket.on("end", onClosed).on("close", onClosed).on("error", onClosed);
  }

  static async open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port) });
    await once(socket, "connect");
    return new RawConnection(socket);
  }

  send(text: string): void {
    if (this.#socket.writable) this.#socket.write(text, "latin1");
  }

  /** The next whole answer; undefined when the connection ends before one. */
  async answer(): Promise<RawAnswer | undefined> {
    return await this.#until(() => {
      const end = this.#received.indexOf("\r\n\r\n");
      if (end < 0) return undefined;
      const head = this.#received.slice(0, end);
      const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
      if (this.#received.length < end + 4 + length) return undefined;
      const body = this.#received.slice(end + 4, end + 4 + length);
      this.#received = this.#received.slice(end + 4 + length);
      return { status: Number(head.split(" ")[1]), head, body };
    });
  }

  /** Everything that came until the gateway ended the connection. */
  async rest(): Promise<string> {
    await this.#until(() => (this.closed ? true : undefined));
    return this.#received;
  }

  async #until<T>(look: () => T | undefined): Promise<T | undefined> {
    const deadline = AbortSignal.timeout(20_000);
    const late = new Promise<never>((_, reject) => {
      deadline.addEventListener("abort", () => reject(new Error(`no answer after 20 s; so far: ${this.#received}`)));
    });
    // What has come at once is not waited for.
    late.catch(() => undefined);
    for (;;) {
      const found = look();
      if (found !== undefined || this.closed) return found;
      await Promise.race([this.#wake.promise, late]);
    }
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
