import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import { abortable } from "../abortable.ts";
import { checkCursor, compareIncarnations, cursorOf, requireFit } from "../cursor.ts";
import type {
  AppendOptions,
  Cursor,
  DiscardedEntry,
  EventLog,
  Incarnation,
  LogEntry,
  NewEntry,
  ResumeCheck,
  TailBatch,
  TailOptions,
} from "../event-log.ts";
import { isCopy, requireEntry } from "../stream-name.ts";
import { traced } from "../traced.ts";
import { ConnectedStream } from "./connected-stream.ts";
import { appendHeaders } from "./message-codec.ts";
import type { LiveConnection, NatsLink } from "./nats-link.ts";
import { hasNews, NewsSender } from "./news-sender.ts";
import { publish } from "./publish.ts";
import { StoredMessages } from "./stored-messages.ts";
import { tailStream } from "./tail-stream.ts";
import type { UnansweredWrites } from "./unanswered-writes.ts";
import type { WriterSession } from "./writer-session.ts";

/** One stream of the site's JetStream, over whatever connection there is. */
export class NatsLog implements EventLog {
  readonly stream: string;
  readonly durableAcks: boolean;
  readonly #link: NatsLink;
  readonly #timers: Timers;
  readonly #session: WriterSession | undefined;
  readonly #news: NewsSender | undefined;
  readonly #unanswered: UnansweredWrites;
  /** The life that the caller opened; appends to another one are refused. */
  #incarnation: Incarnation;
  /** The life that the server spoke of last. */
  #seen: Incarnation | undefined;
  /** Reading, as known over one connection. */
  #readable: { readonly live: LiveConnection; readonly connected: Promise<ConnectedStream> } | undefined;
  /** Writing over one connection: the sequence of its session record. */
  #writable: { readonly live: LiveConnection; readonly session: Promise<number> } | undefined;

  constructor(options: {
    stream: string;
    incarnation: Incarnation;
    link: NatsLink;
    timers: Timers;
    durableAcks: boolean;
    session: WriterSession | undefined;
    unanswered: UnansweredWrites;
  }) {
    this.stream = options.stream;
    this.durableAcks = options.durableAcks;
    this.#incarnation = options.incarnation;
    this.#link = options.link;
    this.#timers = options.timers;
    this.#session = options.session;
    this.#unanswered = options.unanswered;
    this.#news = hasNews(options.stream) ? new NewsSender(options.stream, options.timers) : undefined;
  }

  /** The stream was opened again, perhaps in another life. */
  begin(incarnation: Incarnation): void {
    if (compareIncarnations(incarnation, this.#incarnation) !== 0) {
      this.#incarnation = incarnation;
      this.end();
    }
  }

  /** Forgets what was known of the stream: it was dropped. */
  end(): void {
    this.#readable = undefined;
    this.#writable = undefined;
  }

  async head(): Promise<{ incarnation: Incarnation; sequence: number }> {
    const { facts } = await this.#look(this.#link.current());
    return { incarnation: facts.incarnation, sequence: facts.head };
  }

  async last(subject: string): Promise<LogEntry | undefined> {
    const { messages } = await this.#connected(this.#link.current());
    return messages.last(subject);
  }

  async under(prefix: string, { after = 0, limit }: { after?: number; limit: number }): Promise<LogEntry[]> {
    const { messages } = await this.#connected(this.#link.current());
    const found: LogEntry[] = [];
    while (found.length < limit) {
      const next = await messages.next((found.at(-1)?.sequence ?? after) + 1, `${prefix}>`);
      if (next === undefined) {
        break;
      }
      found.push(next);
    }
    return found;
  }

  async check(cursor: Cursor | undefined): Promise<ResumeCheck> {
    // From scratch, not from what this connection remembers: a check is rare, and has to see what is there.
    const connected = await this.#look(this.#link.current());
    const { incarnation, head } = connected.facts;
    if (cursor === undefined) {
      return { ok: true, incarnation, head };
    }
    return checkCursor(cursor, await connected.place(cursor.sequence, head));
  }

  async cursorAt(sequence: number): Promise<Cursor> {
    const connected = await this.#connected(this.#link.current());
    const { sequence: head } = await this.head();
    return cursorOf(sequence, await connected.place(sequence, head));
  }

  async append(entry: NewEntry, options: AppendOptions = {}): Promise<number> {
    requireEntry(this.stream, entry.subject, entry.payload);
    const { signal } = options;
    signal?.throwIfAborted();
    const written = traced(entry);
    const live = this.#link.current();
    // Every append waits for this one promise, also when it is settled: so calls keep their order.
    const appended = this.#first(live).then((session) => this.#publish(live, written, options, session));
    return abortable(appended, signal);
  }

  async discard(entries: readonly DiscardedEntry[]): Promise<number> {
    const { messages, facts } = await this.#look(this.#link.current());
    const older = entries.filter(({ sequence }) => sequence > 0 && sequence < facts.head);
    let removed = 0;
    for (const entry of older) removed += await messages.purge(entry);
    return removed;
  }

  async *tail(after: number | Cursor, { signal, ahead = false }: TailOptions): AsyncGenerator<TailBatch> {
    const live = this.#link.current();
    const connected = await this.#look(live);
    const { head } = connected.facts;
    const { sessions } = await this.#connected(live);
    const sequence = typeof after === "number" ? after : after.sequence;
    const place = await connected.place(sequence, head);
    if (typeof after !== "number") {
      requireFit(checkCursor(after, place));
    }
    yield* tailStream({ connected, sessions, after: sequence, place, ahead, timers: this.#timers, signal });
  }

  async #publish(live: LiveConnection, entry: NewEntry, options: AppendOptions, session: number): Promise<number> {
    // The caller could not know of the session record that was just put before its entry.
    const expected = options.expectedLastSequence;
    const expectedLastSequence = expected !== undefined && expected === session - 1 ? session : expected;
    const headers = appendHeaders(entry, { ...options, expectedLastSequence });
    const { stream } = this;
    const incarnation = this.#incarnation;
    const tell = (sequence: number): void => this.#news?.tell({ ...entry, sequence }, live, incarnation);
    this.#news?.sent();
    try {
      if (isCopy(stream) && expected !== undefined) {
        tell(expected + 1);
      }
      const sequence = await publish(live, { stream, subject: entry.subject, payload: entry.payload, headers });
      this.#unanswered.answered(stream);
      if (!isCopy(stream)) {
        tell(sequence);
      }
      return sequence;
    } catch (error) {
      this.#unanswered.failed(stream, live, error);
      throw error;
    } finally {
      this.#news?.settled();
    }
  }

  /** What must come before the first append on a connection; resolves with the session's sequence, 0 without one. */
  #first(live: LiveConnection): Promise<number> {
    if (this.#writable?.live !== live) {
      const session = this.#begin(live);
      this.#writable = { live, session };
      session.catch(() => {
        // Tried again by the next append: the stream may be opened meanwhile.
        if (this.#writable?.session === session) {
          this.#writable = undefined;
        }
      });
    }
    return this.#writable.session;
  }

  async #begin(live: LiveConnection): Promise<number> {
    const connected = await this.#connected(live);
    const { incarnation } = connected.facts;
    if (compareIncarnations(incarnation, this.#incarnation) !== 0) {
      const advice = "check the cursors and open it again";
      throw new ContentError(ContentErrorKind.fenced, `log ${this.stream} is of another incarnation now: ${advice}`);
    }
    return (await this.#session?.write(connected)) ?? 0;
  }

  /** The stream over this connection, looked at once. */
  #connected(live: LiveConnection): Promise<ConnectedStream> {
    if (this.#readable?.live !== live) {
      const connected = this.#look(live);
      this.#readable = { live, connected };
      connected.catch(() => {
        // Tried again by the next call: the stream may be opened meanwhile.
        if (this.#readable?.connected === connected) {
          this.#readable = undefined;
        }
      });
    }
    return this.#readable.connected;
  }

  async #look(live: LiveConnection): Promise<ConnectedStream> {
    const messages = new StoredMessages(live, this.stream);
    const facts = await messages.facts();
    if (facts === undefined) {
      throw new ContentError(ContentErrorKind.unavailable, `log ${this.stream} does not exist any more`);
    }
    if (this.#seen !== undefined && compareIncarnations(this.#seen, facts.incarnation) !== 0) {
      this.end();
    }
    this.#seen = facts.incarnation;
    return new ConnectedStream(live, this.stream, messages, facts);
  }
}
