import { connect, createServer, type Server, type Socket } from "node:net";
import type { LinkDirection } from "./link-direction.ts";
import { bracketed } from "./plan.ts";

/** Bytes under way in one direction of one connection before its sender is held back: a long fat link's worth. */
const IN_FLIGHT_BYTES = 16 * 1024 * 1024;

/** A TCP proxy whose two directions are delayed, limited and cut. */
export async function startLinkProxy(parameters: {
  readonly host: string;
  /** host:port */
  readonly target: string;
  readonly out: LinkDirection;
  readonly back: LinkDirection;
}): Promise<{ readonly address: string } & AsyncDisposable> {
  const { host, target, out, back } = parameters;
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = connect({ ...splitTarget(target), allowHalfOpen: true, noDelay: true });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    }
    const destroy = (): void => {
      client.destroy();
      upstream.destroy();
    };
    const resets = [out.onReset(destroy), back.onReset(destroy)];
    client.on("error", destroy);
    upstream.on("error", destroy);
    client.on("close", () => {
      for (const reset of resets) reset[Symbol.dispose]();
    });
    pump(client, upstream, out);
    pump(upstream, client, back);
  });
  await listen(server, host);
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("a link proxy has no TCP address");
  return {
    address: `${bracketed(host)}:${bound.port}`,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Carries what `source` sends to `sink`, through the direction's delay, limit and cut; order is kept. */
function pump(source: Socket, sink: Socket, direction: LinkDirection): void {
  let tail = Promise.resolve();
  let inFlight = 0;
  const deliver = async (chunk: Buffer, due: number): Promise<void> => {
    if (direction.isCut) await direction.open();
    const wait = Math.max(due - performance.now(), direction.reserve(chunk.length));
    if (wait > 0.5) await new Promise((resolve) => setTimeout(resolve, wait));
    // A cut that began while the chunk waited holds it as well.
    if (direction.isCut) await direction.open();
    if (sink.destroyed) return;
    direction.count(chunk.length);
    if (!sink.write(chunk)) await drained(sink);
  };
  source.on("data", (chunk: Buffer) => {
    inFlight += chunk.length;
    if (inFlight > IN_FLIGHT_BYTES || direction.isCut) source.pause();
    const due = performance.now() + direction.delayMs;
    tail = tail
      .then(() => deliver(chunk, due))
      .then(() => {
        inFlight -= chunk.length;
        if (inFlight <= IN_FLIGHT_BYTES / 2) source.resume();
      });
  });
  source.on("end", () => {
    tail = tail.then(async () => {
      if (direction.isCut) await direction.open();
      sink.end();
    });
  });
  source.on("close", (hadError) => {
    if (hadError) sink.destroy();
    else tail = tail.then(() => void (source.readableEnded || sink.destroy()));
  });
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}

function splitTarget(target: string): { host: string; port: number } {
  const colon = target.lastIndexOf(":");
  return { host: target.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(target.slice(colon + 1)) };
}

function listen(server: Server, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port: 0 }, () => resolve());
  });
}
