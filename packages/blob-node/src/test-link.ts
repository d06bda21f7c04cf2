import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A TCP connection path between two nodes that can be counted, stopped and cut. */
export interface TestLink extends AsyncDisposable {
  readonly url: string;
  /** Bytes that came from the far end. */
  readonly bytes: number;
  /** Forwards so many more bytes from the far end, then nothing, with connections left open. */
  stopAfter(bytes: number): void;
  /** Resolves once a stop has taken effect. */
  readonly stopped: Promise<void>;
  /** Forwards again. */
  resume(): void;
  /** Closes all connections and refuses new ones, until `resume`. */
  cut(): void;
  /** Cuts once so many more bytes have come. */
  cutAfter(bytes: number): void;
}

/** Listens on a free port and forwards to the target origin. */
export async function createTestLink(target: string): Promise<TestLink> {
  const { hostname, port } = new URL(target);
  const link = new Link(Number(port), hostname);
  await link.listen();
  return link;
}

class Link implements TestLink {
  readonly #server = createServer((near) => this.#accept(near));
  readonly #sockets = new Set<Socket>();
  readonly #far = new Set<Socket>();
  readonly #target: { readonly port: number; readonly host: string };
  #stopped = Promise.withResolvers<void>();
  #left = Number.POSITIVE_INFINITY;
  #then: "stop" | "cut" = "stop";
  #isCut = false;
  bytes = 0;

  constructor(port: number, host: string) {
    this.#target = { port, host };
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  async listen(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
  }

  stopAfter(bytes: number): void {
    this.#left = bytes;
    this.#then = "stop";
    this.#stopped = Promise.withResolvers<void>();
  }

  cutAfter(bytes: number): void {
    this.stopAfter(bytes);
    this.#then = "cut";
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
    this.#stopped.resolve();
  }

  resume(): void {
    this.#left = Number.POSITIVE_INFINITY;
    this.#isCut = false;
    for (const socket of this.#far) socket.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(near: Socket): void {
    const far = connect(this.#target);
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    }
    this.#far.add(far);
    far.on("close", () => {
      this.#far.delete(far);
      near.destroy();
    });
    near.on("close", () => far.destroy());
    if (this.#isCut) {
      near.destroy();
      return;
    }
    near.pipe(far);
    far.on("data", (chunk: Buffer) => this.#forward(near, far, chunk));
    near.on("drain", () => this.#left > 0 && far.resume());
  }

  #forward(near: Socket, far: Socket, chunk: Buffer): void {
    const part = chunk.subarray(0, Math.max(0, this.#left));
    this.bytes += part.length;
    this.#left -= part.length;
    if (part.length > 0 && !near.write(part)) far.pause();
    if (this.#left > 0) return;
    // What was cut off a chunk is lost: a stopped connection can only time out, as on a black-holed path.
    far.pause();
    if (this.#then === "cut") this.cut();
    this.#stopped.resolve();
  }
}
