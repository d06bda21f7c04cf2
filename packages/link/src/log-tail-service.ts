import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Cursor, EventLogs, ResumeCheck } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { CallContext, ServiceImpl } from "@meridian/rpc";
import type { Logger, PeerIdentity, Timers } from "@meridian/runtime";
import type { linkV1 } from "@meridian/wire";
import type { Feed, FeedBatch } from "./feed.ts";
import { openOwnFeed } from "./own-feed.ts";
import { openRelayFeed } from "./relay-feed.ts";
import { copyStream, ownStream } from "./stream-names.ts";
import { fromWireCursor } from "./wire-cursor.ts";

/** The link protocol's versions that this build speaks, both as server and as reader. */
export const LINK_VERSIONS: readonly number[] = [1];

const HELLO_TIMEOUT_MS = 5_000;
const MAX_BATCH_BYTES = 1 << 20;
/** A reader waits so long for a log that is not whole yet, in milliseconds: less than what it takes for silence. */
const WHOLE_TIMEOUT_MS = 2_000;

/** What a reader of a tail says that it holds. */
export interface ReaderReport {
  /** Durably copied; absent before the first entry. */
  readonly copied?: Cursor;
  /** Folded by every live gateway of the reader's site; absent when not known. */
  readonly folded?: Cursor;
}

/** Keeps the site's own log from readers while it does not hold what it had written (consistency.md §1). */
export interface OwnLogGuard {
  /**
   * Resolves once the log's life is whole, at once when it is.
   * @throws ContentError `unavailable` when the signal aborts first.
   */
  untilWhole(signal: AbortSignal): Promise<void>;
  /** A reader has seen what the log does not hold any more. False when nobody cares: then the reader begins anew. */
  foundLost(check: Extract<ResumeCheck, { ok: false }>): boolean;
}

export interface LogTailServiceOptions {
  readonly site: string;
  /** Names of the member sites: others are refused, also those that cease to be one while they read. */
  readonly members: () => readonly string[];

  readonly logs: EventLogs;
  readonly timers: Timers;
  readonly log: Logger;
  /** Whether the site's own log may be read by others. Default: it may. */
  readonly own?: OwnLogGuard | undefined;
  /** Called with each report of a reader: its site, whose log it read, what it holds. */
  readonly onReport: (site: string, origin: string, report: ReaderReport) => void;
}

type TailResponse = MessageInitShape<typeof linkV1.TailResponseSchema>;

/**
 * Serves this site's log, and its copies of other origins, to replicators of other sites. Batches are sent as fast as
 * the reader takes them; an idle tail sends the log's own heartbeats, one a second.
 */
export function createLogTailService(options: LogTailServiceOptions): ServiceImpl<typeof linkV1.LogTailService> {
  return { tail: (requests, context) => serve(options, requests, context) };
}

async function* serve(
  options: LogTailServiceOptions,
  requests: AsyncIterable<linkV1.TailRequest>,
  { signal: callSignal, peer }: CallContext,
): AsyncIterable<TailResponse> {
  const incoming = requests[Symbol.asyncIterator]();
  const hello = await readHello(incoming, options.timers);
  const version = agree(hello, options.site);
  authorise(hello, peer, options);
  const feed = await openFeed(hello, options, callSignal);
  const log = options.log.child({ reader: hello.readerSite, origin: hello.origin });
  log.info("a reader tails", { from: Number(hello.cursor?.sequence ?? 0n), head: feed.head, reset: feed.resetReason });
  const over = new AbortController();
  const signal = AbortSignal.any([callSignal, over.signal]);
  void readReports(incoming, hello, options).then(() => over.abort());
  try {
    yield welcome(version, options.site, feed);
    for await (const batch of feed.batches(signal)) {
      requireMembers(hello, options);
      yield* messages(batch, hello.origin === options.site);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    over.abort();
    void incoming.return?.();
    log.info("a reader left");
  }
}

async function readHello(incoming: AsyncIterator<linkV1.TailRequest>, timers: Timers): Promise<linkV1.Hello> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  using _deadline = timers.after(HELLO_TIMEOUT_MS, () => reject(new ContentError("invalid", "no Hello within 5 s")));
  const first = await Promise.race([incoming.next(), late]);
  if (first.done || first.value.message.case !== "hello") {
    throw new ContentError("invalid", "the first request of a tail must be a Hello");
  }
  return first.value.message.value;
}

function agree(hello: linkV1.Hello, site: string): number {
  const version = LINK_VERSIONS.filter((known) => hello.versions.includes(known)).at(-1);
  if (version !== undefined) return version;
  const [theirs, ours] = [hello.versions, LINK_VERSIONS].map((versions) => versions.join(", ") || "none");
  throw new ContentError(
    "precondition",
    `site ${hello.readerSite} speaks link version ${theirs}, site ${site} speaks ${ours}: upgrade the older one`,
  );
}

/** A replicator may read for its own site only. In-process callers are this site. */
function authorise(hello: linkV1.Hello, peer: PeerIdentity | undefined, options: LogTailServiceOptions): void {
  requireMembers(hello, options);
  if (peer === undefined) return;
  if (peer.site === hello.readerSite && isReplicator(peer)) return;
  throw new ContentError("denied", `${peer.site}/${peer.service} may not tail for site ${hello.readerSite}`);
}

function isReplicator({ service }: PeerIdentity): boolean {
  return service === "replicator" || service === "site";
}

function requireMembers({ readerSite, origin }: linkV1.Hello, { members }: LogTailServiceOptions): void {
  if (!members().includes(readerSite)) throw new ContentError("denied", `${readerSite} is not a member`);
  if (!members().includes(origin)) throw new ContentError("denied", `origin ${origin} is not a member`);
}

async function openFeed(hello: linkV1.Hello, options: LogTailServiceOptions, callSignal: AbortSignal): Promise<Feed> {
  const { site, logs, own, timers } = options;
  const cursor = fromWireCursor(hello.cursor);
  if (hello.origin === site) {
    const late = new AbortController();
    using _deadline = timers.after(WHOLE_TIMEOUT_MS, () => late.abort());
    await own?.untilWhole(AbortSignal.any([callSignal, late.signal]));
    return openOwnFeed(await logs.open(ownStream(site)), cursor, options);
  }
  const stream = copyStream(hello.origin);
  if (!(await logs.streams()).includes(stream)) throw new ContentError("unavailable", `site ${site} has no ${stream}`);
  return openRelayFeed(await logs.open(stream), cursor);
}

async function readReports(
  incoming: AsyncIterator<linkV1.TailRequest>,
  hello: linkV1.Hello,
  { onReport }: LogTailServiceOptions,
): Promise<void> {
  try {
    for (;;) {
      const next = await incoming.next();
      if (next.done) return;
      const { message } = next.value;
      if (message.case !== "report") continue;
      const copied = fromWireCursor(message.value.copied);
      const folded = fromWireCursor(message.value.folded);
      onReport(hello.readerSite, hello.origin, { ...(copied && { copied }), ...(folded && { folded }) });
    }
  } catch {
    // The reader went away, or broke the protocol: either way its tail ends.
  }
}

function welcome(version: number, serverSite: string, { incarnation, head, resetReason }: Feed): TailResponse {
  const reset = resetReason !== undefined;
  const value = { version, serverSite, incarnation, head: BigInt(head), reset, resetReason: resetReason ?? "" };
  return { message: { case: "welcome", value } };
}

function* messages({ entries, head }: FeedBatch, origin: boolean): Iterable<TailResponse> {
  if (entries.length === 0) {
    yield { message: { case: "heartbeat", value: { head: BigInt(head), origin } } };
  }
  for (const part of parts(entries)) {
    const wire = part.map(({ sequence, subject, payload, traceparent = "" }) => {
      return { sequence: BigInt(sequence), subject, payload, traceparent };
    });
    yield { message: { case: "batch", value: { entries: wire, head: BigInt(head) } } };
  }
}

/** Pieces of at most 1 MiB, so that one message never fills the flow-control window. */
function* parts(entries: FeedBatch["entries"]): Iterable<FeedBatch["entries"]> {
  let start = 0;
  let bytes = 0;
  for (const [index, { payload, subject }] of entries.entries()) {
    const size = payload.length + subject.length + 64;
    if (index > start && bytes + size > MAX_BATCH_BYTES) {
      yield entries.slice(start, index);
      start = index;
      bytes = 0;
    }
    bytes += size;
  }
  if (start < entries.length) yield entries.slice(start);
}
