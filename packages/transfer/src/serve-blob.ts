import type { ServerResponse } from "node:http";
import { ContentError, type Digest, isContentError } from "@meridian/oci";
import type { ByteSink } from "@meridian/storage";
import type { ByteExchange } from "./byte-exchange.ts";
import { ByteHeader, parseBytes, parseHolders, parseRangeHeader } from "./byte-protocol.ts";
import type { ServedBlob } from "./node-bytes.ts";
import { watchProgress } from "./progress-watch.ts";

/**
 * `GET|HEAD /v1/blobs/<digest>`: answers from the node's store, or, where the node fetches for the peer, as the bytes
 * arrive from one of `Meridian-Holders`.
 */
export async function serveBlob(
  exchange: ByteExchange,
  digest: Digest,
  { fetches }: { readonly fetches: boolean },
): Promise<void> {
  const { request, response, node, signal } = exchange;
  const headOnly = request.method === "HEAD";
  const asked = parseRangeHeader(request.headers.range);
  const named = parseHolders(header(request.headers[ByteHeader.holders]));
  const holders = fetches ? named : [];
  const expected = parseBytes(ByteHeader.expectedSize, request.headers[ByteHeader.expectedSize]);
  const linkForMs = parseBytes(ByteHeader.linkForMs, request.headers[ByteHeader.linkForMs]);
  const span = headOnly ? { start: 0, end: 0 } : (asked ?? { start: 0 });
  await using blob = await node.open(digest, { holders, size: expected, span, linkForMs, signal });
  if (blob === undefined) throw new ContentError("not-found", `no blob ${digest}`);

  response.setHeader(ByteHeader.size, blob.size);
  response.setHeader(ByteHeader.servedBy, blob.servedBy);
  response.setHeader(ByteHeader.route, blob.route);
  if (blob.link !== undefined && !headOnly) {
    response.writeHead(307, { location: blob.link, "content-length": 0 });
    response.end();
    return;
  }
  const start = asked?.start ?? 0;
  const end = Math.min(asked?.end ?? blob.size, blob.size);
  if (asked !== undefined && start >= blob.size) {
    throw new ContentError("invalid-range", `the blob has ${blob.size} bytes`);
  }
  response.statusCode = asked === undefined ? 200 : 206;
  response.setHeader("content-type", "application/octet-stream");
  if (asked !== undefined) response.setHeader("content-range", `bytes ${start}-${end - 1}/${blob.size}`);
  if (headOnly || blob.route === "local") response.setHeader("content-length", end - start);
  // Bytes that are still arriving may turn out wrong: only a chunked body can say so at its end.
  else response.setHeader("trailer", ByteHeader.error);

  if (headOnly || start === end) response.end();
  else if (blob.bytes !== undefined) response.end(blob.bytes.subarray(start, end));
  else await sendBody(exchange, blob, { start, end });
}

async function sendBody(exchange: ByteExchange, blob: ServedBlob, span: { start: number; end: number }): Promise<void> {
  const { response, signal } = exchange;
  response.flushHeaders();
  try {
    using sink = responseSink(exchange);
    await blob.read(span, sink, { signal });
    response.end();
  } catch (error) {
    if (response.destroyed) return;
    if (blob.route === "local") {
      response.destroy();
    } else {
      response.addTrailers({ [ByteHeader.error]: isContentError(error) ? error.kind : "unavailable" });
      response.end();
    }
    throw error;
  }
}

/** A chunk is handed back only when the socket has taken it: its memory is reused then. */
function responseSink({ response, clock, timers, bodyIdleMs }: ByteExchange): ByteSink & Disposable {
  const idle = new ContentError("unavailable", `the reader took nothing for ${bodyIdleMs} ms`);
  const watch = watchProgress({ clock, timers, idleMs: bodyIdleMs, onIdle: () => response.destroy(idle) });
  watch.pause();
  return {
    write: async (chunk) => {
      watch.resume();
      await written(response, chunk);
      watch.pause();
    },
    [Symbol.dispose]: () => watch[Symbol.dispose](),
  };
}

function written(response: ServerResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new ContentError("unavailable", "the reader went away"));
    if (response.destroyed) {
      gone();
      return;
    }
    response.once("close", gone);
    response.write(chunk, (error) => {
      response.off("close", gone);
      if (error) gone();
      else resolve();
    });
  });
}

function header(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}
