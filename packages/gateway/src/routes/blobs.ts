import { randomUUID } from "node:crypto";
import type { Catalog, LinkView } from "@meridian/catalog";
import { type Digest, formatContentRange, isContentError, parseRange, type Span, tryParseDigest } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import type { NodeBytes, OpenSpan } from "@meridian/transfer";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl } from "../answer.ts";
import { BlobHeaders } from "../blob-headers.ts";
import type { BlobSources, OpenedBlob } from "../blob-sources.ts";
import type { ClientOrigin } from "../client-origin.ts";
import type { CommitRecords } from "../commit-records.ts";
import { entityTag, isFresh } from "../conditional.ts";
import type { AnswerBody, Exchange } from "../exchange.ts";
import type { FindContent } from "../find-content.ts";
import { type ResourceHandlers, whenReady } from "../handler.ts";
import { LEAST_REDIRECTED_BYTES, redirectTarget } from "../redirect-target.ts";
import { Refusal } from "../refusal.ts";
import type { ReleasePins } from "../release-pins.ts";
import { step } from "../tracing.ts";

interface BlobParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly find: FindContent;
  readonly sources: BlobSources;
  readonly bytesOf: (node: string) => NodeBytes | undefined;
  readonly commit: CommitRecords;
  readonly release: ReleasePins;
  readonly clients: Pick<ClientOrigin, "origin">;
  readonly maxStalenessMs: number;
  readonly log: Logger;
}

/** `/v2/<name>/blobs/<digest>`: pull with ranges, existence, delete (OCI distribution-spec, end-2, end-10). */
export function blobRoutes(parts: BlobParts): ResourceHandlers {
  const { access } = parts;
  const known = new BlobHeaders();
  return {
    GET: (exchange, { name, reference }) =>
      whenReady(access.admit(exchange, repositoryNeed(name, "pull")), () =>
        whenReady(
          step(exchange, "catalog.get", () => parts.find.blob(name, blobDigest(reference))),
          (view) => pull(exchange, name, view, known, parts),
        ),
      ),
    HEAD: (exchange, { name, reference }) =>
      whenReady(access.admit(exchange, repositoryNeed(name, "pull")), () =>
        head(exchange, name, blobDigest(reference), parts),
      ),
    DELETE: (exchange, { name, reference }) =>
      whenReady(access.admit(exchange, repositoryNeed(name, "delete")), () =>
        remove(exchange, name, blobDigest(reference), parts),
      ),
  };
}

function blobDigest(reference: string): Digest {
  const digest = tryParseDigest(reference);
  if (digest === undefined) throw new Refusal("DIGEST_INVALID", "not a sha256 or sha512 digest");
  return digest;
}

/** Answered from this site's view: at worst the client uploads a blob that is here already. */
function head(exchange: Exchange, name: string, digest: Digest, { catalog, sources, answers }: BlobParts): void {
  const view = catalog.blob(name, digest);
  if (view === undefined || !sources.reachable(view)) {
    throw new Refusal("BLOB_UNKNOWN", `repository ${name} has no blob ${digest} within reach`);
  }
  catalog.pins.pin(name, digest, view.size);
  const headers = [...contentHeaders(view.digest, answers), "Content-Length", String(view.size)];
  exchange.send(200, [...headers, ...answers.stale()]);
}

/** A small blob in this process's memory is answered in one go, without a promise. A traced request goes the whole way. */
function pull(
  exchange: Exchange,
  name: string,
  view: LinkView,
  known: BlobHeaders,
  parts: BlobParts,
): void | Promise<void> {
  const plain = exchange.header("range") === undefined && exchange.header("if-none-match") === undefined;
  const { answers } = parts;
  const { self } = answers;
  const bytes = plain && !exchange.traced ? parts.bytesOf(self)?.cached?.(view.digest) : undefined;
  if (bytes === undefined) return pullFromNodes(exchange, name, view, parts);
  const from = { servedBy: self, route: "local" } as const;
  const headers = known.of(view.digest, answers.version(), () => [
    ...servedHeaders(view.digest, from, answers),
    ...["Content-Length", String(bytes.byteLength)],
  ]);
  const stale = answers.stale();
  exchange.send(200, stale.length === 0 ? headers : [...headers, ...stale], bytes);
}

async function pullFromNodes(exchange: Exchange, name: string, view: LinkView, parts: BlobParts): Promise<void> {
  if (isFresh(exchange, view.digest)) {
    exchange.send(304, [...contentHeaders(view.digest, parts.answers), ...parts.answers.stale()]);
    return;
  }
  const header = rangeHeader(exchange, view.digest);
  const linkForMs = view.size < LEAST_REDIRECTED_BYTES ? undefined : parts.maxStalenessMs;
  await using blob = await parts.sources.open(name, view, firstSpan(header, view.size), exchange.signal, linkForMs);
  const target = redirectTarget(exchange, blob.link, parts.clients);
  if (target !== undefined) {
    redirect(exchange, view.digest, { target, servedBy: blob.servedBy }, parts.answers);
    return;
  }
  const spans = parseRange(header, blob.size);
  const headers = [...servedHeaders(view.digest, blob, parts.answers), ...parts.answers.stale()];
  if (spans === undefined) await sendSpan(exchange, 200, headers, blob, { start: 0, end: blob.size }, parts.log);
  else if (spans.length === 1) await sendPartial(exchange, headers, blob, spans[0]!, parts.log);
  else await sendMultipart(exchange, headers, blob, spans, parts.log);
}

/** The client asks there for the same range. The URL is for it alone, and not for long. */
function redirect(
  exchange: Exchange,
  digest: Digest,
  { target, servedBy }: { readonly target: string; readonly servedBy: string },
  answers: AnswerHeaders,
): void {
  const headers = ["Location", target, "Docker-Content-Digest", digest, "Cache-Control", "no-store"];
  headers.push("Content-Length", "0", ...answers.fixed, "Meridian-Version", answers.version(), ...answers.stale());
  exchange.send(307, [...headers, "Meridian-Served-By", servedBy, "Meridian-Route", "redirect"]);
}

/** The Range header, unless If-Range names something else (RFC 9110 §13.1.5). */
function rangeHeader(exchange: Exchange, digest: Digest): string | undefined {
  const ifRange = exchange.header("if-range");
  return ifRange === undefined || ifRange === entityTag(digest) ? exchange.header("range") : undefined;
}

/** What will be read first, as far as the size in the records tells: the source begins to send it with its answer. */
function firstSpan(header: string | undefined, size: number): OpenSpan {
  const spans = parseRange(header, size);
  return spans?.[0] ?? { start: 0 };
}

function contentHeaders(digest: Digest, answers: AnswerHeaders): string[] {
  return [
    "Content-Type",
    "application/octet-stream",
    "Docker-Content-Digest",
    digest,
    "ETag",
    entityTag(digest),
    "Cache-Control",
    CacheControl.digest,
    "Accept-Ranges",
    "bytes",
    ...answers.fixed,
    "Meridian-Version",
    answers.version(),
  ];
}

/** Without what changes by itself. */
function servedHeaders(
  digest: Digest,
  { servedBy, route }: Pick<OpenedBlob, "servedBy" | "route">,
  answers: AnswerHeaders,
): string[] {
  return [...contentHeaders(digest, answers), "Meridian-Served-By", servedBy, "Meridian-Route", route];
}

function sendPartial(exchange: Exchange, headers: string[], blob: OpenedBlob, span: Span, log: Logger): Promise<void> {
  headers.push("Content-Range", formatContentRange(span, blob.size));
  return sendSpan(exchange, 206, headers, blob, span, log);
}

async function sendSpan(
  exchange: Exchange,
  status: number,
  headers: string[],
  blob: OpenedBlob,
  span: Span,
  log: Logger,
): Promise<void> {
  headers.push("Content-Length", String(span.end - span.start));
  if (blob.bytes !== undefined) {
    exchange.send(status, headers, blob.bytes.subarray(span.start, span.end));
    return;
  }
  await sendPieces(
    exchange,
    status,
    headers,
    async (body) => {
      await blob.send(span, body, exchange.signal);
    },
    log,
  );
}

/** `multipart/byteranges` (RFC 9110 §14.6): one part for each range, in the order asked for. */
async function sendMultipart(
  exchange: Exchange,
  headers: string[],
  blob: OpenedBlob,
  spans: readonly Span[],
  log: Logger,
): Promise<void> {
  const boundary = randomUUID();
  const heads = spans.map((span, index) =>
    Buffer.from(
      `${index === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Type: application/octet-stream\r\n` +
        `Content-Range: ${formatContentRange(span, blob.size)}\r\n\r\n`,
      "latin1",
    ),
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`, "latin1");
  const length = spans.reduce((sum, span, i) => sum + heads[i]!.length + span.end - span.start, tail.length);
  headers[headers.indexOf("Content-Type") + 1] = `multipart/byteranges; boundary=${boundary}`;
  headers.push("Content-Length", String(length));
  await sendPieces(
    exchange,
    206,
    headers,
    async (body) => {
      for (const [index, span] of spans.entries()) {
        await body.write(heads[index]!);
        await blob.send(span, body, exchange.signal);
      }
      await body.write(tail);
    },
    log,
  );
}

/** Sends the headers with the first piece, so that a source that fails before it still gets an error answer. */
async function sendPieces(
  exchange: Exchange,
  status: number,
  headers: string[],
  send: (body: Pick<AnswerBody, "write">) => Promise<void>,
  log: Logger,
): Promise<void> {
  let body: AnswerBody | undefined;
  try {
    await send({
      write(chunk) {
        body ??= exchange.begin(status, headers);
        return body.write(chunk);
      },
    });
    body ??= exchange.begin(status, headers);
    body.end();
  } catch (error) {
    if (body === undefined) throw error;
    body.abort();
    if (!exchange.signal.aborted) log.error("an answer broke off: no source of the blob is left", { error });
  }
}

async function remove(
  exchange: Exchange,
  name: string,
  digest: Digest,
  { catalog, find, commit, release, answers }: BlobParts,
): Promise<void> {
  await find.blob(name, digest);
  const by = catalog.referencedBy(name, digest);
  if (by.length > 0) {
    throw new Refusal("UNSUPPORTED", "a manifest of this repository references the blob: delete that first", {
      detail: { referencedBy: by.slice(0, 20) },
    });
  }
  await release(name, digest);
  let version: string;
  try {
    version = await commit([{ kind: "delete-link", repository: name, digest }]);
  } catch (error) {
    // A manifest came between, or the blob is a visible manifest's own bytes.
    if (isContentError(error, "denied")) throw new Refusal("UNSUPPORTED", error.message, { cause: error });
    throw error;
  }
  exchange.send(202, ["Content-Length", "0", ...answers.fixed, "Meridian-Version", version]);
}
