import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ReadTarget } from "./peers/peer.ts";

/** Larger than what one read of a socket brings. */
const BUFFER_BYTES = 256 * 1024;

/**
 * Bytes a second of one download to nowhere over a connection of its own, HTTP/1.1. Every read goes into the same
 * buffer: curl, with its 16 KiB, takes at most 1.3 GB/s and would be what is measured. The time is from the request
 * to the last byte.
 * @throws Error unless it is answered 200 with a length.
 */
export function streamRate(target: ReadTarget): Promise<number> {
  const download = openDownload(target, BUFFER_BYTES);
  return download.finished.then((seconds) => download.bytes() / seconds).finally(() => download.socket.destroy());
}

/** A download under way whose bytes are counted and thrown away. */
export interface Download {
  readonly socket: Socket;
  /** Body bytes so far. */
  bytes(): number;
  /** Resolves with the seconds that it took. */
  readonly finished: Promise<number>;
}

export function openDownload({ url, headers }: ReadTarget, bufferBytes: number): Download {
  const { hostname, port, host, pathname, protocol } = new URL(url);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const buffer = Buffer.allocUnsafeSlow(bufferBytes);
  let started = 0;
  let head = "";
  let length = -1;
  let bytes = 0;
  const take = (count: number): boolean => {
    if (length >= 0) bytes += count;
    else {
      head += buffer.toString("latin1", 0, count);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return true;
      length = Number(/^content-length: (\d+)\r?$/im.exec(head)?.[1] ?? Number.NaN);
      if (!head.startsWith("HTTP/1.1 200 ") || Number.isNaN(length))
        reject(new Error(`${url}:\n${head.slice(0, end)}`));
      bytes = head.length - end - 4;
    }
    if (bytes >= length) resolve((performance.now() - started) / 1000);
    return true;
  };
  const where = { host: hostname, port: Number(port), onread: { buffer, callback: take } };
  const fields = Object.entries({ host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  const ask = (): void => {
    started = performance.now();
    socket.write(`GET ${pathname} HTTP/1.1\r\n${fields.join("")}\r\n`);
  };
  const socket: Socket =
    protocol === "https:" ? connectTls({ ...where, rejectUnauthorized: false }, ask) : connect(where, ask);
  socket.on("error", reject).on("close", () => reject(new Error(`${url} ended after ${bytes} bytes`)));
  return { socket, bytes: () => bytes, finished: promise };
}
