import type { Timers } from "@meridian/runtime";
import type { Incarnation, LogEntry } from "../event-log.ts";
import { isCopy, ownerOf } from "../stream-name.ts";
import { NEWS_SUBJECT } from "./nats-bulletin.ts";
import type { LiveConnection } from "./nats-link.ts";
import { encodeNews } from "./news-codec.ts";

/** News of several appends waits this long at most for the last of them, in milliseconds. */
const HOLD_MS = 3;
/** With more appends under way than this a reader is behind anyway: it has enough to do with what the server delivers. */
const MANY = 100;
/** Payload of one piece of news, in bytes: the server takes 1 MB. An entry has at most 64 KiB. */
const MAX_BYTES = 256 * 1024;

/** True for streams whose writers tell news of them: the records of a site, its own or a copy. */
export function hasNews(stream: string): boolean {
  return ownerOf(stream) !== undefined;
}

/**
 * Tells readers of a stream what this process writes to it, over NATS core: of a log of the site's own what the server has
 * acknowledged, of a copy what was handed in, for there the origin has it on disk. While the server syncs the next message
 * it delivers none of those before (with `sync_interval: always` its store is locked meanwhile).
 */
export class NewsSender {
  readonly #stream: string;
  readonly #timers: Timers;
  #waiting: LogEntry[] = [];
  #bytes = 0;
  /** Whose news waits. */
  #source: { readonly live: LiveConnection; readonly incarnation: Incarnation } | undefined;
  #underWay = 0;
  #due: Disposable | undefined;

  constructor(stream: string, timers: Timers) {
    this.#stream = stream;
    this.#timers = timers;
  }

  /** An append was sent. */
  sent(): void {
    this.#underWay += 1;
  }

  /** It has come to an end, whatever it was. */
  settled(): void {
    this.#underWay -= 1;
    if (this.#underWay === 0) {
      this.#flush();
    }
  }

  /** An entry that may be shown now. */
  tell(entry: LogEntry, live: LiveConnection, incarnation: Incarnation): void {
    if (this.#underWay > MANY) {
      return;
    }
    const { payload } = entry;
    if (
      this.#source?.live !== live ||
      this.#source.incarnation !== incarnation ||
      this.#bytes + payload.length > MAX_BYTES
    ) {
      this.#flush();
      this.#source = { live, incarnation };
    }
    this.#waiting.push(entry);
    this.#bytes += payload.length;
    // A copy's entries are handed in together; acknowledgements come one by one.
    if (this.#waiting.length === 1) {
      if (isCopy(this.#stream)) queueMicrotask(() => this.#flush());
      else this.#due = this.#timers.after(HOLD_MS, () => this.#flush());
    }
  }

  #flush(): void {
    this.#due?.[Symbol.dispose]();
    this.#due = undefined;
    const entries = this.#waiting;
    const source = this.#source;
    this.#waiting = [];
    this.#bytes = 0;
    if (entries.length === 0 || source === undefined || source.live.lost.aborted) {
      return;
    }
    try {
      const news = encodeNews({ incarnation: source.incarnation, entries });
      source.live.nc.publish(NEWS_SUBJECT + this.#stream, news);
    } catch {
      // Best effort: the server delivers the entries too.
    }
  }
}
