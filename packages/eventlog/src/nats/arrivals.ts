import { ContentError, ContentErrorKind } from "@meridian/oci";
import { compareIncarnations } from "../cursor.ts";
import type { LogEntry } from "../event-log.ts";

/** Of news, how much is held that the server has not delivered yet. */
const MAX_NEWS = 1_000;
const MAX_NEWS_BYTES = 1 << 20;
/** One batch. */
const MAX_TAKEN = 5_000;
const MAX_TAKEN_BYTES = 1 << 20;

/** `stored`: to be shown, the stream has it. `ahead`: to be shown, it was only handed in. `passed`: shown before, now stored. */
type Kind = "stored" | "ahead" | "passed";

interface Arrival {
  readonly entry: LogEntry;
  kind: Kind;
}

/** What one batch of a tail is made of. */
export interface Taken {
  /** To be shown. */
  readonly entries: readonly LogEntry[];
  /** True when the stream is not known to have them. */
  readonly ahead: boolean;
  /** What the stream has: the entries, unless they are ahead, and those that were shown ahead before. */
  readonly stored: readonly LogEntry[];
}

/**
 * What comes to one tail, in the order of the stream: what the server delivers, which is all of it and the truth, and
 * sooner, through news, what directly follows on what came before. News that does not waits for what is missing; it is
 * forgotten when there is too much of it, or once the server has delivered its entry.
 */
export class Arrivals {
  readonly #copy: boolean;
  /** The last sequence that came, from wherever. */
  #reached: number;
  /** The last that the server delivered. */
  #delivered: number;
  readonly #news = new Map<number, LogEntry>();
  #newsBytes = 0;
  #queue: Arrival[] = [];
  #queueBytes = 0;
  /** Arrivals in the queue that are to be shown. */
  #fresh = 0;

  /** `copy`: what news tells is handed in, not stored. */
  constructor(after: number, { copy }: { copy: boolean }) {
    this.#reached = after;
    this.#delivered = after;
    this.#copy = copy;
  }

  /** Entries to be shown. */
  get fresh(): number {
    return this.#fresh;
  }

  /** True when nothing waits to be taken. */
  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** True when news has come of something that the server has not delivered yet. */
  get toldAhead(): boolean {
    return this.#reached > this.#delivered;
  }

  /**
   * The server delivered an entry; each comes behind those before.
   * @throws ContentError `unavailable` when it is not what news said of its place.
   */
  deliver(entry: LogEntry): void {
    const { sequence } = entry;
    const told = this.#news.get(sequence);
    this.#delivered = sequence;
    this.#forgetNews(sequence);
    if (sequence > this.#reached) {
      this.#add(entry, "stored");
      this.#reached = sequence;
      this.#follow();
    } else if (told === undefined || !sameEntry(told, entry)) {
      throw new ContentError(ContentErrorKind.unavailable, `the log has another entry at ${sequence} than was told`);
    } else if (this.#copy) {
      this.#store(entry);
    }
  }

  /** What a writer tells. */
  tell(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      const { sequence, payload } = entry;
      const room = this.#news.size < MAX_NEWS && this.#newsBytes + payload.length <= MAX_NEWS_BYTES;
      if (sequence > this.#reached && !this.#news.has(sequence) && room) {
        this.#news.set(sequence, entry);
        this.#newsBytes += payload.length;
      }
    }
    this.#follow();
  }

  /** The next batch; undefined when nothing waits. */
  take(): Taken | undefined {
    const [first] = this.#queue;
    if (first === undefined) {
      return undefined;
    }
    const ahead = first.kind === "ahead";
    let count = 0;
    let bytes = 0;
    for (const { entry, kind } of this.#queue) {
      bytes += entry.payload.length;
      if ((kind === "ahead") !== ahead || count === MAX_TAKEN || (count > 0 && bytes > MAX_TAKEN_BYTES)) {
        break;
      }
      count += 1;
    }
    const taken = this.#queue.splice(0, count);
    this.#queueBytes -= taken.reduce((sum, { entry }) => sum + entry.payload.length, 0);
    const shown = taken.filter(({ kind }) => kind !== "passed");
    this.#fresh -= shown.length;
    const entries = shown.map(({ entry }) => entry);
    return { entries, ahead, stored: ahead ? [] : taken.map(({ entry }) => entry) };
  }

  /** Takes the news that directly follows, unless the reader is slow. */
  #follow(): void {
    while (this.#queue.length < MAX_NEWS && this.#queueBytes < MAX_NEWS_BYTES) {
      const next = this.#news.get(this.#reached + 1);
      if (next === undefined) {
        return;
      }
      this.#reached += 1;
      this.#add(next, this.#copy ? "ahead" : "stored");
    }
  }

  /** What was told is stored now. */
  #store(entry: LogEntry): void {
    const waiting = this.#queue.find((one) => one.kind === "ahead" && one.entry.sequence === entry.sequence);
    if (waiting === undefined) this.#add(entry, "passed");
    else waiting.kind = "stored";
  }

  #add(entry: LogEntry, kind: Kind): void {
    this.#queue.push({ entry, kind });
    this.#queueBytes += entry.payload.length;
    if (kind !== "passed") {
      this.#fresh += 1;
    }
  }

  /** Up to a sequence the server's word holds; what it left out was compacted away. */
  #forgetNews(upTo: number): void {
    for (const [sequence, { payload }] of this.#news) {
      if (sequence <= upTo) {
        this.#news.delete(sequence);
        this.#newsBytes -= payload.length;
      }
    }
  }
}

function sameEntry(a: LogEntry, b: LogEntry): boolean {
  return a.subject === b.subject && sameOrigin(a, b) && Buffer.compare(a.payload, b.payload) === 0;
}

function sameOrigin({ origin: a }: LogEntry, { origin: b }: LogEntry): boolean {
  if (a === undefined || b === undefined) {
    return a === b;
  }
  return a.sequence === b.sequence && compareIncarnations(a.incarnation, b.incarnation) === 0;
}
