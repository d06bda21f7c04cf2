import { createServer } from "node:net";

/**
 * Ports on 127.0.0.1 that are free now, below the range that the system gives to outgoing connections: what was free
 * when looked at is still free when a process listens on it a second later.
 */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  for (let attempt = 0; attempt < 1_000 && found.size < count; attempt++) {
    const port = 22_000 + Math.floor(Math.random() * 8_000);
    if (await canBind(port)) found.add(port);
  }
  if (found.size < count) throw new Error("no free ports");
  return [...found];
}

/** True when nothing listens on the port of 127.0.0.1. */
export function canBind(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen({ host: "127.0.0.1", port }, () => server.close(() => done(true)));
  });
}
