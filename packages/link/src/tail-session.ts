import { type Cursor, compareIncarnations, type Incarnation } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { Clock, Timers } from "@meridian/runtime";
import type { linkV1 } from "@meridian/wire";
import { AppendWindow } from "./append-window.ts";
import type { Copy } from "./copy.ts";
import { DurablePosition } from "./durable-position.ts";
import { LINK_VERSIONS } from "./log-tail-service.ts";
import { type FoldedPosition, Reporter } from "./reporter.ts";
import { RequestStream } from "./request-stream.ts";
import { fromWireIncarnation, toWireCursor } from "./wire-cursor.ts";

/** A site from which an origin's log can be read: the origin itself, or one that has a copy. */
export interface TailSource {
  readonly site: string;
  readonly client: ServiceClient<typeof linkV1.LogTailService>;
}

/** What a session tells while it runs. */
export interface SessionEvents {
  /** The source may be gone on from. `head` is the origin's last sequence as far as the source knows. */
  welcomed(head: number): void;
  /** A heartbeat, or entries that are stored in the copy by now. */
  heard(head: number): void;
  /** New entries are stored in the copy. */
  copied(cursor: Cursor): void;
  /** The copy was thrown away because it does not fit the origin. */
  restarted(reason: string): void;
}

export interface SessionOptions {
  readonly site: string;
  readonly origin: string;
  readonly copy: Copy;
  /** Logs that were created up to this reading are refused; 0n: none is. */
  readonly refusedUntil: () => bigint;
  readonly folded: () => FoldedPosition | undefined;
  /** Whether a copy that does not fit is put aside before it is thrown away. */
  readonly keepOld: boolean;
  readonly events: SessionEvents;
  readonly clock: Clock;
  readonly timers: Timers;
  /** How long an acknowledged append may be lost to a power failure, in milliseconds, when the log does not fsync first. */
  readonly fsyncDelayMs: number;
  readonly signal: AbortSignal;
}

/** Silence after which a source counts as dead, in milliseconds: three of its heartbeats. */
export const SILENCE_MS = 3_000;

type Responses = AsyncIterator<linkV1.TailResponse>;

/**
 * One connection to one source: says where the copy stands, then appends what comes. Returns when the source ends the
 * stream; rejects with ContentError when it fails, is silent for {@link SILENCE_MS}, or cannot be gone on from.
 */
export async function tailFrom(source: TailSource, options: SessionOptions): Promise<void> {
  const { copy, events } = options;
  const requests = new RequestStream(helloOf(options));
  const over = new AbortController();
  const signal = AbortSignal.any([options.signal, over.signal]);
  const responses = source.client.tail(requests, { signal })[Symbol.asyncIterator]();
  const progress: Progress = { head: 0, stored: () => {} };
  const window = new AppendWindow({
    copy,
    stored(cursor) {
      events.heard(progress.head);
      if (cursor !== undefined) progress.stored(cursor);
    },
    failed: (error) => over.abort(error),
  });
  try {
    await follow({ source, options, requests, responses, over, window, progress });
  } catch (error) {
    throw window.failure?.error ?? error;
  } finally {
    progress.stored = events.copied;
    requests.end();
    over.abort(new ContentError("unavailable", "the tail is over"));
    responses.return?.().then(undefined, () => {});
    // Who opens the copy again must find all of it.
    await window.settled();
  }
}

interface Progress {
  /** The source's last sequence, as it came with the last batch. */
  head: number;
  /** Called with each new end of what is stored. */
  stored: (cursor: Cursor) => void;
}

/** Reads until the source ends the stream. */
async function follow(session: {
  source: TailSource;
  options: SessionOptions;
  requests: RequestStream;
  responses: Responses;
  over: AbortController;
  window: AppendWindow;
  progress: Progress;
}): Promise<void> {
  const { source, options, requests, responses, over, window, progress } = session;
  const { copy, events, timers, clock, folded } = options;
  const welcome = requireWelcome(await nextWithin(responses, over, options), source, options);
  events.welcomed(Number(welcome.head));
  const incarnation = fromWireIncarnation(welcome.incarnation);
  let reset = welcome.reset;
  const delayMs = copy.durable ? 0 : options.fsyncDelayMs;
  let durable = new DurablePosition({ clock, delayMs, start: reset ? undefined : copy.cursor });
  using reporter = new Reporter({ requests, timers, folded, copied: () => durable.current });
  progress.stored = (cursor) => {
    events.copied(cursor);
    durable.copied(cursor);
    reporter.changed();
  };
  for (;;) {
    const response = await nextWithin(responses, over, options);
    if (response === undefined) return;
    if (reset) {
      // Not before the new tail is there: until then the old copy serves.
      await copy.restart({ keepOld: options.keepOld });
      events.restarted(welcome.resetReason);
      durable = new DurablePosition({ clock, delayMs, start: undefined });
      reset = false;
    }
    const { message } = response;
    if (message.case === "heartbeat") {
      events.heard(Number(message.value.head));
      continue;
    }
    const batch = requireBatch(message);
    progress.head = Number(batch.head);
    await window.take(batch.entries, incarnation);
  }
}

/** Asks a source whether it would serve this cursor, and leaves again. Rejects when it would not. */
export async function probeSource(source: TailSource, options: SessionOptions): Promise<void> {
  const requests = new RequestStream(helloOf(options));
  const over = new AbortController();
  const signal = AbortSignal.any([options.signal, over.signal]);
  const responses = source.client.tail(requests, { signal })[Symbol.asyncIterator]();
  try {
    requireWelcome(await nextWithin(responses, over, options), source, options);
  } finally {
    requests.end();
    over.abort(new ContentError("unavailable", "the probe is over"));
    responses.return?.().then(undefined, () => {});
  }
}

function helloOf({ site, origin, copy }: SessionOptions): ConstructorParameters<typeof RequestStream>[0] {
  const { cursor } = copy;
  return { versions: [...LINK_VERSIONS], readerSite: site, origin, ...(cursor && { cursor: toWireCursor(cursor) }) };
}

/** The next response; undefined at the end. A source that says nothing for too long is given up. */
async function nextWithin(
  responses: Responses,
  over: AbortController,
  { timers }: SessionOptions,
): Promise<linkV1.TailResponse | undefined> {
  const silent = new ContentError("unavailable", `silent for ${SILENCE_MS} ms`);
  using _silence = timers.after(SILENCE_MS, () => over.abort(silent));
  const next = await responses.next();
  return next.done ? undefined : next.value;
}

/** Whether to go on from this source, and how. */
function requireWelcome(
  response: linkV1.TailResponse | undefined,
  source: TailSource,
  { origin, copy, refusedUntil }: SessionOptions,
): linkV1.Welcome {
  if (response?.message.case !== "welcome") {
    throw new ContentError("invalid", `site ${source.site} did not begin its tail with a Welcome`);
  }
  const welcome = response.message.value;
  if (!LINK_VERSIONS.includes(welcome.version)) {
    throw new ContentError("precondition", `site ${source.site} chose link version ${welcome.version}, unknown here`);
  }
  if (welcome.serverSite !== source.site) {
    throw new ContentError("denied", `${welcome.serverSite} answered for site ${source.site}`);
  }
  const offered = fromWireIncarnation(welcome.incarnation);
  if (offered.created <= refusedUntil())
    throw new ContentError(
      "fenced",
      `site ${source.site} offers a log of ${origin} from before it ceased to be a member: wipe its data, and add it again`,
    );
  requireIncarnation(offered, { welcome, source, origin, known: copy.cursor });
  return welcome;
}

function requireIncarnation(
  offered: Incarnation,
  {
    welcome,
    source,
    origin,
    known,
  }: { welcome: linkV1.Welcome; source: TailSource; origin: string; known: Cursor | undefined },
): void {
  if (known === undefined) return;
  const order = compareIncarnations(offered, known.incarnation);
  if (order < 0) {
    const lives = `incarnation ${offered.id} is older than ${known.incarnation.id}, which was copied before`;
    throw new ContentError("fenced", `site ${source.site} offers an old life of ${origin}'s log: ${lives}`);
  }
  if (order > 0 && !welcome.reset) {
    throw new ContentError("invalid", `site ${source.site} goes on in incarnation ${offered.id} from another one`);
  }
  if (order === 0 && welcome.reset && source.site !== origin) {
    // Its copy or this one went the wrong way; only the origin knows which.
    throw new ContentError("unavailable", `site ${source.site} cannot relay ${origin}: ${welcome.resetReason}`);
  }
}

function requireBatch(message: linkV1.TailResponse["message"]): linkV1.Batch {
  if (message.case === "batch") return message.value;
  throw new ContentError("invalid", `unexpected ${message.case ?? "empty"} message in a tail`);
}
