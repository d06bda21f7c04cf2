import { createHash } from "node:crypto";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The longest socket path that both Linux (108) and macOS (104) take. */
const MAX_SOCKET_PATH = 100;
const MAX_BODY_BYTES = 64 * 1024;

/** The path itself, or a short stand-in in the system's temporary folder when it is too long for a socket. */
export function unixSocketPath(path: string): string {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return path;
  return join(tmpdir(), `meridian-${createHash("sha256").update(path).digest("hex").slice(0, 24)}.sock`);
}

/** Answers JSON commands on a Unix socket that only its owner may open (mode 0600). */
export async function serveCommands(
  path: string,
  handle: (command: Readonly<Record<string, unknown>>) => Promise<unknown>,
): Promise<AsyncDisposable> {
  rmSync(path, { force: true });
  const server = createServer((incoming, response) => {
    void answer(incoming, handle).then(({ status, body }) => {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(body));
    });
  });
  const mask = process.umask(0o177);
  try {
    await listenOn(server, path);
  } finally {
    process.umask(mask);
  }
  chmodSync(path, 0o600);
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Sends a command to such a socket. @throws Error with the other side's message, or when nobody listens. */
export async function sendCommand(path: string, command: Readonly<Record<string, unknown>>): Promise<unknown> {
  const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
    const outgoing = request({ socketPath: path, method: "POST", path: "/" }, (response) => {
      readBody(response).then((text) => resolve({ status: response.statusCode ?? 0, text }), reject);
    });
    outgoing.once("error", reject);
    outgoing.end(JSON.stringify(command));
  });
  const body = JSON.parse(text) as { error?: string };
  if (status !== 200) throw new Error(body.error ?? `status ${status}`);
  return body;
}

async function answer(
  incoming: IncomingMessage,
  handle: (command: Readonly<Record<string, unknown>>) => Promise<unknown>,
): Promise<{ status: number; body: unknown }> {
  try {
    const command: unknown = JSON.parse(await readBody(incoming));
    if (typeof command !== "object" || command === null)
      return { status: 400, body: { error: "a command is an object" } };
    return { status: 200, body: (await handle(command as Record<string, unknown>)) ?? {} };
  } catch (error) {
    return { status: 400, body: { error: error instanceof Error ? error.message : String(error) } };
  }
}

async function readBody(stream: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new Error("the message is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function listenOn(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => resolve());
  });
}
