import type { IncomingMessage } from "node:http";
import { ContentError, type Digest } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import { BLOBS_PATH, ByteHeader, formatHolders, formatRangeHeader, parseBytes } from "./byte-protocol.ts";
import { type ByteConnection, requireSuccess, sendByteRequest } from "./byte-request.ts";
import type { OpenSpan, ReadOptions, ServedBlob } from "./node-bytes.ts";
import { pumpBody } from "./response-body.ts";

// What is left of an unread body is read away, to keep the connection, when it is no more than this.
const DRAIN_BYTES = 64 * 1024;

/** Asks a node for a blob; its first span arrives with the answer. Undefined when neither it nor a holder has the blob. */
export async function openRemoteBlob(
  connection: ByteConnection,
  digest: Digest,
  options: ReadOptions,
): Promise<ServedBlob | undefined> {
  const span = options.span ?? { start: 0 };
  const response = await ask(connection, digest, options, span, options.signal);
  if (response.statusCode === 404 && response.headers[ByteHeader.error] === "not-found") {
    response.resume();
    return undefined;
  }
  const size = parseBytes(ByteHeader.size, response.headers[ByteHeader.size]);
  const outside = response.statusCode === 416 && size !== undefined;
  const link = response.statusCode === 307 ? response.headers.location : undefined;
  if (outside || link !== undefined) response.resume();
  else await requireSuccess(connection, response);
  const route = response.headers[ByteHeader.route];
  const servedBy = response.headers[ByteHeader.servedBy];
  if (size === undefined || typeof servedBy !== "string" || (route !== "local" && route !== "stream")) {
    response.destroy();
    throw new ContentError("unavailable", `${connection.node} answered without size, route or name`);
  }
  const end = Math.min(span.end ?? size, size);
  const first = outside || link !== undefined || end <= span.start ? undefined : { start: span.start, end, response };
  if (first === undefined) response.resume();
  return new RemoteBlob(connection, digest, options.holders, { size, servedBy, route, link }, first);
}

interface UnreadBody extends ByteSpan {
  readonly response: IncomingMessage;
}

class RemoteBlob implements ServedBlob {
  readonly size: number;
  readonly servedBy: string;
  readonly route: "local" | "stream";
  readonly link?: string;
  readonly #connection: ByteConnection;
  readonly #digest: Digest;
  readonly #holders: readonly string[];
  #first: UnreadBody | undefined;

  constructor(
    connection: ByteConnection,
    digest: Digest,
    holders: readonly string[],
    answer: Pick<ServedBlob, "size" | "servedBy" | "route" | "link">,
    first: UnreadBody | undefined,
  ) {
    this.#connection = connection;
    this.#digest = digest;
    this.#holders = holders;
    this.size = answer.size;
    this.servedBy = answer.servedBy;
    this.route = answer.route;
    if (answer.link !== undefined) this.link = answer.link;
    this.#first = first;
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (span.start < 0 || span.end < span.start || span.end > this.size) {
      throw new ContentError("invalid-range", `bytes ${span.start}–${span.end} of ${this.size}`);
    }
    if (span.start === span.end) return;
    const body = this.#takeFirst(span) ?? (await this.#request(span, signal));
    await pumpBody(body.response, span.end - span.start, sink, signal);
    discard(body.response, body.end - span.end);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const first = this.#first;
    this.#first = undefined;
    if (first) discard(first.response, first.end - first.start);
  }

  #takeFirst(span: ByteSpan): UnreadBody | undefined {
    const first = this.#first;
    this.#first = undefined;
    if (first === undefined) return undefined;
    if (first.start === span.start && first.end >= span.end && !first.response.destroyed) return first;
    discard(first.response, first.end - first.start);
    return undefined;
  }

  async #request(span: ByteSpan, signal: AbortSignal | undefined): Promise<UnreadBody> {
    const response = await ask(
      this.#connection,
      this.#digest,
      { holders: this.#holders, size: this.size },
      span,
      signal,
    );
    await requireSuccess(this.#connection, response);
    if (parseBytes(ByteHeader.size, response.headers[ByteHeader.size]) !== this.size) {
      response.destroy();
      throw new ContentError("digest-mismatch", `${this.#connection.node} changed its mind about the size`);
    }
    return { ...span, response };
  }
}

function ask(
  connection: ByteConnection,
  digest: Digest,
  { holders, size, linkForMs }: Pick<ReadOptions, "holders" | "size" | "linkForMs">,
  span: OpenSpan,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  const headers: Record<string, string> = {};
  if (holders.length > 0) headers[ByteHeader.holders] = formatHolders(holders);
  if (size !== undefined) headers[ByteHeader.expectedSize] = String(size);
  if (linkForMs !== undefined) headers[ByteHeader.linkForMs] = String(linkForMs);
  const sizeOnly = span.end !== undefined && span.end <= span.start;
  const range = sizeOnly ? undefined : formatRangeHeader(span);
  if (range !== undefined) headers.range = range;
  return sendByteRequest(connection, { method: sizeOnly ? "HEAD" : "GET", path: BLOBS_PATH + digest, headers, signal });
}

function discard(response: IncomingMessage, unread: number): void {
  if (unread <= DRAIN_BYTES) response.resume();
  else response.destroy();
}
