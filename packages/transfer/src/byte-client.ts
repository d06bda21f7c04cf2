import type { ClientRequest } from "node:http";
import { ContentError } from "@meridian/oci";
import { type Logger, systemTimers, type Timers } from "@meridian/runtime";
import { context } from "@opentelemetry/api";
import { type ClientTls, createByteAgent } from "./byte-agent.ts";
import { ByteHeader, parseBytes, UPLOADS_PATH } from "./byte-protocol.ts";
import { type ByteConnection, requireSuccess, sendByteRequest } from "./byte-request.ts";
import type { AppendOptions, NodeBytes } from "./node-bytes.ts";
import { openRemoteBlob } from "./remote-blob.ts";
import { inSpan } from "./trace-context.ts";

/** What {@link createByteClient} needs. */
export interface ByteClientOptions extends ClientTls {
  /** The node at the other end, as site/process. */
  readonly node: string;
  /** Origin of its byte listener: https://host:port, or http:// when `tls` is absent. */
  readonly url: string;
  readonly log: Logger;
  readonly timers?: Timers;
  /** Time for the headers of an answer, milliseconds; default 20 000. Callers that can go elsewhere give up earlier by their signal. */
  readonly answerTimeoutMs?: number;
}

/** The bytes of a node of another process. By default the peer must be a blob node, or a whole-site process, of the node's site. */
export function createByteClient(options: ByteClientOptions): NodeBytes & AsyncDisposable {
  const { node, url, timers = systemTimers, answerTimeoutMs = 20_000, tls, identify } = options;
  const site = node.slice(0, node.indexOf("/"));
  const expect =
    options.expect ?? ((peer) => peer.site === site && (peer.service === "blob-node" || peer.service === "site"));
  const origin = new URL(url);
  const agent = createByteAgent(origin, { tls, identify, expect });
  const connection: ByteConnection = { node, origin, agent, timers, answerTimeoutMs };
  return {
    open: (digest, readOptions) =>
      inSpan("blob.open", "client", context.active(), async (span) => {
        span?.setAttribute("meridian.node", node);
        const blob = await openRemoteBlob(connection, digest, readOptions);
        if (blob) span?.setAttributes({ "meridian.route": blob.route, "meridian.served_by": blob.servedBy });
        return blob;
      }),
    append: (uploadId, body, appendOptions) =>
      inSpan("blob.append", "client", context.active(), () => append(connection, uploadId, body, appendOptions)),
    async [Symbol.asyncDispose]() {
      agent[Symbol.dispose]();
      options.log.debug("byte client closed", { node });
    },
  };
}

async function append(
  connection: ByteConnection,
  uploadId: string,
  body: AsyncIterable<Uint8Array>,
  { offset, final, signal }: AppendOptions,
): Promise<{ offset: number }> {
  const headers: Record<string, string> = { "content-type": "application/octet-stream" };
  if (offset !== undefined) headers[ByteHeader.offset] = String(offset);
  if (final) headers[ByteHeader.final] = "true";
  let sending: ClientRequest | undefined;
  const response = await sendByteRequest(connection, {
    method: "PATCH",
    path: UPLOADS_PATH + encodeURIComponent(uploadId),
    headers,
    signal,
    send: (request) => {
      sending = request;
      return sendBody(request, body);
    },
  });
  try {
    await requireSuccess(connection, response);
  } finally {
    // Answered before the body was sent: the connection cannot be used again.
    if (sending?.writableEnded) response.resume();
    else response.destroy();
  }
  const acknowledged = parseBytes(ByteHeader.offset, response.headers[ByteHeader.offset]);
  if (acknowledged === undefined) throw new ContentError("unavailable", `${connection.node} acknowledged no offset`);
  return { offset: acknowledged };
}

/** Chunks may be used again by their owner once the next one is asked for: each is waited for. */
async function sendBody(request: ClientRequest, body: AsyncIterable<Uint8Array>): Promise<void> {
  // The answer may come, or the connection may break, at any moment: both end the sending without being an error of it.
  let over = false;
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      over = true;
      resolve();
    };
    request.once("response", end).once("close", end);
  });
  const source = body[Symbol.asyncIterator]();
  while (!over) {
    const next = await Promise.race([source.next(), ended]);
    if (next === undefined) break;
    if (next.done) {
      request.end();
      return;
    }
    const { value } = next;
    await Promise.race([new Promise<void>((resolve) => request.write(value, () => resolve())), ended]);
  }
  // Answered early: nobody reads the rest of the body.
  void source.return?.()?.catch(() => {});
}
