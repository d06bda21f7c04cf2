import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import { AckPolicy, DeliverPolicy } from "@nats-io/jetstream";
import { compareIncarnations, cursorOf, type Place, type Witness, witnessOf } from "../cursor.ts";
import type { LogEntry, TailBatch } from "../event-log.ts";
import { isSessionSubject } from "../session.ts";
import { isCopy } from "../stream-name.ts";
import { Arrivals, type Taken } from "./arrivals.ts";
import type { ConnectedStream } from "./connected-stream.ts";
import { NEWS_SUBJECT } from "./nats-bulletin.ts";
import { asContentError } from "./nats-error.ts";
import { decodeNews } from "./news-codec.ts";
import { hasNews } from "./news-sender.ts";
import { PullSubscription } from "./pull-subscription.ts";
import type { SessionIndex } from "./session-index.ts";

/** An unused consumer is removed by the server after this long, in nanoseconds: 30 s. */
const INACTIVE_THRESHOLD_NS = 30_000_000_000;

/** Tails a stream over one connection; ends with `unavailable` when that is lost or anything of it is missed. */
export async function* tailStream(options: {
  connected: ConnectedStream;
  /** Where to note the session records that pass. */
  sessions: SessionIndex;
  after: number;
  /** What the stream says about `after`. */
  place: Place;
  /** Whether to show news too, before the server delivers it. */
  ahead: boolean;
  timers: Timers;
  signal: AbortSignal;
}): AsyncGenerator<TailBatch> {
  const { connected, sessions, after, place, ahead, timers, signal } = options;
  const { live, stream } = connected;
  const arrivals = new Arrivals(after, { copy: isCopy(stream) });
  let wake = (): void => {};
  using _news = ahead && hasNews(stream) ? followNews(connected, arrivals, () => wake()) : undefined;
  using consumer = await createConsumer(connected, after);
  using pull = new PullSubscription({ live, stream, consumer: consumer.name, arrivals, timers });
  wake = () => pull.wake();
  const reading = new Reading(stream, connected.facts.compact, after, place);
  yield reading.batch([]);
  while (!signal.aborted) {
    await pull.next(signal);
    if (signal.aborted) {
      return;
    }
    const { entries, ahead: unstored, stored } = arrivals.take() ?? NOTHING;
    if (unstored) {
      yield { entries, head: reading.seen(entries.at(-1)!.sequence), ahead: true };
      continue;
    }
    sessions.observe(reading.at, stored);
    reading.seen(pull.head);
    yield reading.batch(entries, stored);
  }
}

const NOTHING: Taken = { entries: [], ahead: false, stored: [] };

/** Hands over what writers tell of the stream in the life that is read. */
function followNews({ live, stream, facts }: ConnectedStream, arrivals: Arrivals, wake: () => void): Disposable {
  const subscription = live.nc.subscribe(NEWS_SUBJECT + stream, {
    callback: (error, message) => {
      const news = error === null ? decodeNews(message.data) : undefined;
      if (news !== undefined && compareIncarnations(news.incarnation, facts.incarnation) === 0) {
        arrivals.tell(news.entries);
        wake();
      }
    },
  });
  return { [Symbol.dispose]: () => subscription.unsubscribe() };
}

/** Where a tail stands, and what its cursor says. */
class Reading {
  readonly #stream: string;
  readonly #compact: boolean;
  readonly #place: Place;
  #witness: Witness | undefined;
  #originSequence: number | undefined;
  #head: number;
  at: number;

  constructor(stream: string, compact: boolean, after: number, place: Place) {
    this.#stream = stream;
    this.#compact = compact;
    this.#place = place;
    this.#witness = place.witness;
    this.#originSequence = place.originSequence;
    this.#head = place.head;
    this.at = after;
  }

  /** The stream reaches at least to this sequence; returns how far it is known to reach. */
  seen(sequence: number): number {
    this.#head = Math.max(this.#head, sequence);
    return this.#head;
  }

  /** A batch that shows the entries; `stored` are those that the stream has, shown before or not. */
  batch(entries: readonly LogEntry[], stored = entries): TailBatch {
    for (const entry of stored) {
      if (!this.#compact || isSessionSubject(this.#stream, entry.subject)) {
        this.#witness = witnessOf(entry);
      }
      if (this.#originSequence !== undefined) {
        this.#originSequence = entry.origin?.sequence ?? this.#originSequence;
      }
    }
    this.at = stored.at(-1)?.sequence ?? this.at;
    this.seen(this.at);
    const place = { ...this.#place, witness: this.#witness, originSequence: this.#originSequence };
    return { entries, head: this.#head, cursor: cursorOf(this.at, place) };
  }
}

async function createConsumer(
  { live, stream }: ConnectedStream,
  after: number,
): Promise<Disposable & { readonly name: string }> {
  try {
    const { name } = await live.jsm.consumers.add(stream, {
      ack_policy: AckPolicy.None,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: after + 1,
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: INACTIVE_THRESHOLD_NS,
    });
    return {
      name,
      [Symbol.dispose]: () => {
        // Not awaited: a server that hangs must not hold up the end of the tail.
        live.jsm.consumers.delete(stream, name).catch(() => {
          // The server removes it when it was idle for a while.
        });
      },
    };
  } catch (error) {
    throw asTailError(asContentError(error));
  }
}

function asTailError(error: ContentError): ContentError {
  return new ContentError(ContentErrorKind.unavailable, error.message, { cause: error });
}
