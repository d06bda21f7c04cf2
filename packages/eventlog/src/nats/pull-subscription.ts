import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import { createInbox, type Msg, type Subscription } from "@nats-io/transport-node";
import type { Arrivals } from "./arrivals.ts";
import { toEntry } from "./message-codec.ts";
import type { LiveConnection } from "./nats-link.ts";

const BATCH_ENTRIES = 1_000;
const BATCH_BYTES = 1 << 20;
/** After the first entry of a delivery, those that follow so soon are handed over with it, in milliseconds. */
const GATHER_MS = 3;
const GATHERED = 100;
/** What was shown before the stream had it, and is stored now, is told its reader so soon, in milliseconds. */
const SETTLE_MS = 100;
/** How long the server keeps a request for messages, and how often it says that there are none, in nanoseconds. */
const EXPIRES_NS = 2_000_000_000;
const IDLE_HEARTBEAT_NS = 1_000_000_000;
/** Without a word from the server for this long the tail is dead, in milliseconds. */
const SILENCE_MS = 3_000;

/** Status codes of JetStream instead of a message (ADR-13). */
const Status = { heartbeat: 100, requestTimeout: 408, noMessages: 404, conflict: 409, noResponders: 503 } as const;

/**
 * Messages of an ephemeral pull consumer, a request at a time: the next one goes out when the reader has taken what the
 * last one brought, so a slow reader costs no memory. (The client's own `consume` asks on, however slow its reader is.)
 */
export class PullSubscription implements Disposable {
  readonly #live: LiveConnection;
  readonly #timers: Timers;
  readonly #subject: string;
  readonly #inbox: string;
  readonly #subscription: Subscription;
  readonly #arrivals: Arrivals;
  #head = 0;
  #delivered = 0;
  /** Messages that the server may still send for the request that is out; 0 when none is. */
  #requested = 0;
  #requests = 0;
  #heard = false;
  #settling: Disposable | undefined;
  #settled = false;
  #error: ContentError | undefined;
  #wake: () => void = () => {};

  constructor(options: {
    live: LiveConnection;
    stream: string;
    consumer: string;
    /** Takes what is delivered. */
    arrivals: Arrivals;
    timers: Timers;
  }) {
    const { live, stream, consumer, arrivals, timers } = options;
    this.#arrivals = arrivals;
    this.#live = live;
    this.#timers = timers;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
    this.#inbox = createInbox();
    this.#subscription = live.nc.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error === null) {
          this.#take(message);
        } else {
          this.#error ??= gone(error.message, error);
        }
        this.#wake();
      },
    });
  }

  /** The stream's last sequence as far as the deliveries say: at least where the last one stood, with those behind it. */
  get head(): number {
    return this.#head;
  }

  /** Something came from elsewhere: the one who waits looks again. */
  wake(): void {
    this.#wake();
  }

  /** Waits for arrivals or a sign of life. Throws ContentError `unavailable` when neither comes; ends early on abort. */
  async next(signal: AbortSignal): Promise<void> {
    const arrivals = this.#arrivals;
    while (!signal.aborted) {
      this.#live.lost.throwIfAborted();
      if (this.#error !== undefined) {
        throw this.#error;
      }
      // A request that is used up means that more waits at the server: to gather it here would be to read ahead.
      const behind = this.#requested === 0 && arrivals.fresh > 0;
      if (this.#requested === 0) {
        this.#request();
      }
      if (arrivals.fresh > 0 || this.#heard || this.#settled) {
        if (!behind && arrivals.fresh > 0) {
          await this.#gather();
        }
        this.#heard = false;
        this.#settle(false);
        return;
      }
      if (!arrivals.empty) {
        this.#settle(true);
      }
      await this.#change(signal);
    }
  }

  /** Entries of one write come one by one, as the server syncs them; each delivery costs its reader a transaction. */
  async #gather(): Promise<void> {
    const enough = (): boolean => this.#arrivals.fresh >= GATHERED || this.#arrivals.toldAhead;
    if (enough()) {
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    using _over = this.#timers.after(GATHER_MS, resolve);
    this.#wake = () => {
      if (enough()) resolve();
    };
    await promise;
  }

  /** Begins to wait for more that is only stored now, or ends it. */
  #settle(waits: boolean): void {
    if (!waits) {
      this.#settling?.[Symbol.dispose]();
      this.#settling = undefined;
      this.#settled = false;
      return;
    }
    this.#settling ??= this.#timers.after(SETTLE_MS, () => {
      this.#settled = true;
      this.#wake();
    });
  }

  #request(): void {
    this.#requested = BATCH_ENTRIES;
    this.#requests += 1;
    const request = {
      batch: BATCH_ENTRIES,
      max_bytes: BATCH_BYTES,
      expires: EXPIRES_NS,
      idle_heartbeat: IDLE_HEARTBEAT_NS,
    };
    this.#live.nc.publish(this.#subject, JSON.stringify(request), { reply: this.#reply() });
  }

  #take(message: Msg): void {
    const code = message.headers?.code ?? 0;
    if (code > 0 && message.subject.startsWith(this.#inbox)) {
      // A request may be answered in full and closed afterwards; only the one that is out now matters.
      if (message.subject === this.#reply()) {
        this.#status(code, message.headers?.description ?? "");
      }
      return;
    }
    const { delivered, sequence, pending } = deliveryOf(message.reply ?? "");
    if (delivered !== this.#delivered + 1) {
      this.#error ??= gone(`delivery ${delivered} came after ${this.#delivered}`);
      return;
    }
    this.#delivered = delivered;
    this.#head = sequence + pending;
    this.#requested = Math.max(0, this.#requested - 1);
    try {
      this.#arrivals.deliver(toEntry(sequence, message));
    } catch (error) {
      this.#error ??= gone("a delivery does not fit", error);
    }
  }

  #status(code: number, description: string): void {
    this.#heard = true;
    if (code === Status.heartbeat) {
      return;
    }
    this.#requested = 0;
    const usedUp = code === Status.conflict && /exceeds maxbytes|batch completed/i.test(description);
    if (!usedUp && code !== Status.requestTimeout && code !== Status.noMessages) {
      this.#error ??= gone(`${description || "no such consumer"} (${code})`);
    }
  }

  #reply(): string {
    return `${this.#inbox}.${this.#requests}`;
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        silence[Symbol.dispose]();
        signal.removeEventListener("abort", done);
        this.#live.lost.removeEventListener("abort", done);
        resolve();
      };
      const silence = this.#timers.after(SILENCE_MS, () => {
        this.#error ??= gone(`the server said nothing for ${SILENCE_MS} ms`);
        done();
      });
      this.#wake = done;
      signal.addEventListener("abort", done);
      this.#live.lost.addEventListener("abort", done);
    });
  }

  [Symbol.dispose](): void {
    this.#settle(false);
    this.#subscription.unsubscribe();
  }
}

function gone(reason: string, cause?: unknown): ContentError {
  return new ContentError(ContentErrorKind.unavailable, `the tail of the log ended: ${reason}`, { cause });
}

/**
 * A message's place by its reply subject (ADR-15):
 * `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<delivery>.<time>.<pending>`, newer ones with domain and account first.
 */
function deliveryOf(reply: string): { sequence: number; delivered: number; pending: number } {
  const tokens = reply.split(".");
  const at = tokens.length === 9 ? 4 : 6;
  const [, sequence, delivered, , pending] = tokens.slice(at).map(Number);
  if (tokens[1] !== "ACK" || !Number.isSafeInteger(sequence) || !Number.isSafeInteger(delivered)) {
    return { sequence: 0, delivered: Number.NaN, pending: 0 };
  }
  return { sequence: sequence!, delivered: delivered!, pending: pending ?? 0 };
}
