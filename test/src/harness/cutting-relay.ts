import { connect, createServer, type Socket } from "node:net";

/**
 * A TCP relay in front of a gateway that can break a connection off while a client sends: a bad line. TLS passes
 * through, so that clients see the gateway's own certificate; its names cover every port of the loopback.
 */
export class CuttingRelay implements AsyncDisposable {
  /** Connections that were cut so far. */
  cuts = 0;
  #cutAfter = Number.POSITIVE_INFINITY;
  readonly #open = new Set<Socket>();
  readonly #server;

  private constructor(target: URL) {
    this.#server = createServer((client) => this.#relay(client, target));
  }

  /** Relays to the gateway at `origin`, from a free port. */
  static async start(origin: string): Promise<CuttingRelay> {
    const relay = new CuttingRelay(new URL(origin));
    await new Promise<void>((done) => relay.#server.listen({ host: "127.0.0.1", port: 0 }, done));
    return relay;
  }

  /** As a client names a registry: host and port. */
  get registry(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the relay does not listen");
    return `127.0.0.1:${address.port}`;
  }

  /** The next connection that has sent so many bytes is reset, both ways; those after it pass. */
  cutOnceAfter(bytes: number): void {
    this.#cutAfter = bytes;
  }

  #relay(client: Socket, target: URL): void {
    const gateway = connect(Number(target.port), target.hostname);
    let sent = 0;
    for (const socket of [client, gateway]) {
      this.#open.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#open.delete(socket);
        client.destroy();
        gateway.destroy();
      });
    }
    client.on("data", (chunk: Buffer) => {
      sent += chunk.length;
      if (sent < this.#cutAfter) return;
      this.#cutAfter = Number.POSITIVE_INFINITY;
      this.cuts += 1;
      client.resetAndDestroy();
    });
    client.pipe(gateway).pipe(client);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#open) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}
