import { ContentError, isContentError } from "@meridian/oci";
import type { Clock, Timers } from "@meridian/runtime";
import type { ByteSink } from "@meridian/storage";
import type { OpenSpan, ServedBlob } from "./node-bytes.ts";
import { type ProgressWatch, watchProgress } from "./progress-watch.ts";

/** What {@link failoverRead} needs. */
export interface FailoverReadOptions {
  /** Sources in the order of preference, asked again before each attempt: what is dropped from the list is not tried, what is added is. */
  readonly sources: () => readonly string[];
  /** Asks one source. Undefined when it has no such blob. */
  readonly open: (source: string, span: OpenSpan, signal: AbortSignal) => Promise<ServedBlob | undefined>;
  /** What to send; an absent end is the size that the first source tells. */
  readonly span: OpenSpan;
  readonly sink: ByteSink;
  /** Size of the blob when it is known for sure; a source that says otherwise is replaced. */
  readonly size?: number;
  /** A source that opens or sends nothing for so long, while the sink is ready, is replaced. Milliseconds; default 2 000. */
  readonly stallTimeoutMs?: number | ((source: string) => number);
  /**
   * The same for a source that itself streams from holders (route "stream"): it replaces them by itself, and holds the
   * last piece back until the blob is verified and stored. Milliseconds; default 20 000.
   */
  readonly streamStallTimeoutMs?: number;
  /** Attempts per source that bring nothing; default 2. */
  readonly attemptsPerSource?: number;
  /** A source answered and will be read. */
  readonly onSourceOpened?: (source: string, blob: ServedBlob) => void;
  /** A source died, stalled, or answered wrongly. Not called for a failing sink or an abort. */
  readonly onSourceFailed?: (source: string, error: ContentError) => void;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly signal?: AbortSignal;
}

/** What {@link failoverRead} did. */
export interface FailoverReadResult {
  /** Size of the blob. */
  readonly size: number;
  /** Sources whose bytes reached the sink, in order. */
  readonly sources: readonly string[];
}

const RETRY_PAUSE_MS = 50;

/**
 * Sends a span from the first source that can, and goes on at the same offset with the next when it cannot any more.
 * Holds no bytes back and checks no hash: a caller that needs that hashes in its sink.
 * @throws ContentError `not-found` when every source says it has none; `digest-mismatch` when a source takes back what it
 * already sent (it must not be completed by another one); `unavailable` when no source is left; whatever the sink throws.
 */
export async function failoverRead(options: FailoverReadOptions): Promise<FailoverReadResult> {
  const run = new Failover(options);
  for (;;) {
    options.signal?.throwIfAborted();
    const source = await run.nextSource();
    if (await run.attempt(source)) return { size: run.size ?? 0, sources: run.delivered };
  }
}

interface Tries {
  count: number;
  absent: boolean;
  lastError?: ContentError;
}

class Failover {
  readonly #options: FailoverReadOptions;
  readonly #tries = new Map<string, Tries>();
  readonly delivered: string[] = [];
  size: number | undefined;
  #position: number;

  constructor(options: FailoverReadOptions) {
    this.#options = options;
    this.#position = options.span.start;
    this.size = options.size;
  }

  /** The source with the fewest vain attempts, in the caller's order. */
  async nextSource(): Promise<string> {
    const limit = this.#options.attemptsPerSource ?? 2;
    const usable = this.#options.sources().filter((source) => {
      const tries = this.#tries.get(source);
      return tries === undefined || (tries.count < limit && !tries.absent);
    });
    let best: string | undefined;
    for (const source of usable) {
      if (best === undefined || this.#count(source) < this.#count(best)) best = source;
    }
    if (best === undefined) throw this.#exhausted();
    const again = this.#count(best);
    if (again > 0) {
      await this.#options.timers.sleep(RETRY_PAUSE_MS * 2 ** (again - 1), { signal: this.#options.signal });
    }
    return best;
  }

  /** True when the span is complete; false when another source must go on. */
  async attempt(source: string): Promise<boolean> {
    const { signal, clock, timers, stallTimeoutMs = 2_000 } = this.#options;
    const from = this.#position;
    const attempt = new Attempt(this.#options.sink, (bytes) => {
      this.#position += bytes;
      if (this.delivered.at(-1) !== source) this.delivered.push(source);
    });
    const onAbort = (): void => attempt.stop(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const idleMs = typeof stallTimeoutMs === "number" ? stallTimeoutMs : stallTimeoutMs(source);
    const onIdle = (): void => attempt.stop(new ContentError("unavailable", `${source} stalled`));
    try {
      attempt.watch = watchProgress({ clock, timers, idleMs, onIdle });
      await attempt.until(this.#transfer(source, attempt, onIdle));
      return true;
    } catch (error) {
      attempt.stop(error);
      this.#afterFailure(source, from, attempt, error);
      return false;
    } finally {
      attempt.watch?.[Symbol.dispose]();
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async #transfer(source: string, attempt: Attempt, onIdle: () => void): Promise<void> {
    const { open, span, clock, timers, streamStallTimeoutMs = 20_000 } = this.#options;
    const opened = await open(source, { start: this.#position, end: span.end }, attempt.signal);
    if (opened === undefined) throw new ContentError("not-found", `${source} does not have the blob`);
    await using blob = opened;
    attempt.signal.throwIfAborted();
    if (this.size !== undefined && blob.size !== this.size) {
      throw new ContentError("digest-mismatch", `${source} says ${blob.size} bytes instead of ${this.size}`);
    }
    this.size = blob.size;
    this.#options.onSourceOpened?.(source, blob);
    if (blob.route === "stream") {
      attempt.watch?.[Symbol.dispose]();
      attempt.watch = watchProgress({ clock, timers, idleMs: streamStallTimeoutMs, onIdle });
    }
    attempt.watch?.progress();
    const end = span.end ?? blob.size;
    if (this.#position < end) await blob.read({ start: this.#position, end }, attempt.sink, { signal: attempt.signal });
    if (this.#position !== end)
      throw new ContentError("unavailable", `${source} ended ${end - this.#position} bytes early`);
  }

  #afterFailure(source: string, from: number, attempt: Attempt, error: unknown): void {
    if (attempt.sinkFailure !== undefined) throw attempt.sinkFailure.error;
    this.#options.signal?.throwIfAborted();
    const failure = isContentError(error)
      ? error
      : new ContentError("unavailable", `${source} failed`, { cause: error });
    // A span outside the blob is the caller's mistake, not the source's.
    if (failure.kind === "invalid-range") throw failure;
    const tries = this.#tries.get(source) ?? { count: 0, absent: false };
    tries.count = this.#position > from ? 1 : tries.count + 1;
    tries.absent = failure.kind === "not-found";
    tries.lastError = failure;
    this.#tries.set(source, tries);
    this.#options.onSourceFailed?.(source, failure);
    if (failure.kind === "digest-mismatch") {
      if (this.#position > from) throw failure;
      tries.count = Number.POSITIVE_INFINITY;
    }
  }

  #count(source: string): number {
    return this.#tries.get(source)?.count ?? 0;
  }

  #exhausted(): ContentError {
    const tries = [...this.#tries.values()];
    if (tries.length > 0 && tries.every(({ absent }) => absent)) {
      return new ContentError("not-found", "no source has the blob");
    }
    const cause = tries.findLast(({ lastError }) => lastError !== undefined)?.lastError;
    return new ContentError("unavailable", cause ? `no source is left: ${cause.message}` : "no source to ask", {
      cause,
    });
  }
}

/** One try at one source: nothing of it reaches the sink once it is stopped. */
class Attempt {
  readonly #controller = new AbortController();
  readonly #stopped = Promise.withResolvers<never>();
  readonly sink: ByteSink;
  sinkFailure: { readonly error: unknown } | undefined;
  watch: ProgressWatch | undefined;

  constructor(target: ByteSink, delivered: (bytes: number) => void) {
    this.#stopped.promise.catch(() => {});
    this.sink = {
      write: (chunk) => {
        this.signal.throwIfAborted();
        try {
          const writing = target.write(chunk);
          if (writing !== undefined) return this.#finish(writing, chunk.byteLength, delivered);
        } catch (error) {
          this.sinkFailure = { error };
          throw error;
        }
        delivered(chunk.byteLength);
        this.watch?.progress();
        return undefined;
      },
    };
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  stop(reason: unknown): void {
    this.#controller.abort(reason);
    this.#stopped.reject(reason);
  }

  /** Does not wait for a source that ignores its signal. */
  until(transfer: Promise<void>): Promise<void> {
    return Promise.race([transfer, this.#stopped.promise]);
  }

  async #finish(writing: Promise<void>, bytes: number, delivered: (bytes: number) => void): Promise<void> {
    this.watch?.pause();
    try {
      await writing;
    } catch (error) {
      this.sinkFailure = { error };
      throw error;
    }
    this.watch?.resume();
    delivered(bytes);
  }
}
