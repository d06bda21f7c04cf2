import { compareIncarnations, encodeLife, type Incarnation, lifeSubject, type ResumeCheck } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import { Deadline } from "./deadline.ts";
import type { Fold } from "./fold.ts";
import type { View } from "./view.ts";

/** What keeps a site from taking writes: its log does not have what earlier lives of it had (consistency.md §1). */
export interface Restoring {
  /** For a client and an operator: how far it is. */
  readonly message: string;
  /** Members whose copies have been brought in. */
  readonly asked: readonly string[];
  /** Members that could not be asked yet. */
  readonly waiting: readonly string[];
  /** Entries of theirs that were looked through. */
  readonly records: number;
}

/** Whether the site's own log has what it ever had; see {@link OwnLogLife}. */
export interface LogLife {
  /** False where the log is as it is: then nothing of this ever keeps anybody waiting. */
  readonly restores: boolean;
  /** Undefined when the log's life is whole, or nobody cares for that. */
  readonly restoring: Restoring | undefined;
  /** Resolves once nothing is restored any more. @throws ContentError `unavailable` when the signal aborts first. */
  untilWhole(signal: AbortSignal): Promise<void>;
  /** No write of this process begins before the promise settles: somebody asks whether the log was set back. */
  checkFirst(checked: Promise<void>): void;
  /** Resolves once nothing is to be awaited that {@link LogLife.checkFirst} was told. */
  checked(): Promise<void>;
  /** What the log says of its present life; undefined while it cannot be read. `life` is absent while it says nothing. */
  current(): { readonly incarnation: Incarnation; readonly life?: recordV1.Life } | undefined;
  /** Resolves once this process has read that a life is in a state. @throws ContentError `unavailable` when the signal aborts first. */
  untilRead(incarnation: Incarnation, state: recordV1.LifeState | undefined, signal: AbortSignal): Promise<void>;
  /** Resolves once {@link LogLife.current} is known. @throws ContentError `unavailable` when the signal aborts first. */
  untilKnown(signal: AbortSignal): Promise<void>;
  /** What the log has said of all its lives. */
  all(): readonly recordV1.Life[];
  /**
   * The log, in its present life, lacks what it had: makes the site fence its writes and begin another life. False where
   * nothing is ever restored.
   */
  foundLost(check: Extract<ResumeCheck, { ok: false }>): boolean;
  /**
   * Gives up what members hold that cannot be asked: the site takes writes from now on.
   * @throws ContentError `precondition` when nothing is being restored, `unavailable` when the log cannot be written, or is
   * about to begin another life.
   */
  acceptLoss(): Promise<void>;
  /** Calls `listener` whenever any of this may have changed, until disposed. */
  onChanged(listener: () => void): Disposable;
}

export interface OwnLogLifeOptions {
  readonly site: string;
  readonly view: View;
  readonly fold: Fold;
  /** False where a log is as it is: then nothing is ever restored. */
  readonly restores: boolean;
  readonly timers: Timers;
  readonly log: Logger;
}

const TIMEOUT_MS = 10_000;
const RETRY_MS = 500;

/**
 * Follows what the site's own log says of its lives. A life begins when the log is created, and again when it was set
 * back. It is whole once the members were asked what they hold of earlier ones, and that is in the log: no process of the
 * site writes before. One that finds the log set back says so in the log, for all others and for whoever restores it.
 */
export class OwnLogLife implements LogLife, AsyncDisposable {
  readonly #options: OwnLogLifeOptions;
  readonly #stop = new AbortController();
  /** The life in which the log was set back, as this process has seen it. */
  #lost: string | undefined;
  #telling: Promise<void> = Promise.resolve();
  #checked: Promise<void> = Promise.resolve();

  constructor(options: OwnLogLifeOptions) {
    this.#options = options;
  }

  get restores(): boolean {
    return this.#options.restores;
  }

  get restoring(): Restoring | undefined {
    const current = this.#options.restores ? this.current() : undefined;
    if (current === undefined || this.#isWhole(current)) {
      return undefined;
    }
    const { asked = [], waiting = [], records = 0n } = current.life ?? {};
    return { message: messageOf(this.#options.site, current.life), asked, waiting, records: Number(records) };
  }

  async untilWhole(signal: AbortSignal): Promise<void> {
    const { fold, restores, site, view } = this.#options;
    if (!restores) {
      return;
    }
    const whole = (): boolean => fold.ownLog !== undefined && this.current() !== undefined && !this.restoring;
    await view.positions.until(whole, `the log of site ${site} is being restored`, signal);
  }

  checkFirst(checked: Promise<void>): void {
    this.#checked = checked.catch(() => {});
  }

  checked(): Promise<void> {
    return this.#checked;
  }

  current(): { readonly incarnation: Incarnation; readonly life?: recordV1.Life } | undefined {
    const { site, view } = this.#options;
    const incarnation = view.cursor({ stream: `META_${site}`, site, own: true })?.cursor.incarnation;
    if (incarnation === undefined) {
      return undefined;
    }
    const life = view.lives.of(site, incarnation.id);
    return life === undefined ? { incarnation } : { incarnation, life };
  }

  async untilKnown(signal: AbortSignal): Promise<void> {
    const { fold, site, view } = this.#options;
    const known = (): boolean => fold.ownLog !== undefined && this.current() !== undefined && fold.caughtUp;
    await view.positions.until(known, `the log of site ${site} was not read in time`, signal);
  }

  async untilRead(incarnation: Incarnation, state: recordV1.LifeState | undefined, signal: AbortSignal): Promise<void> {
    const { site, view } = this.#options;
    const read = (): boolean => {
      const current = this.current();
      // Another life that has begun meanwhile ends the wait as well.
      if (current !== undefined && compareIncarnations(current.incarnation, incarnation) > 0) return true;
      return current?.incarnation.id === incarnation.id && current.life?.state === state;
    };
    await view.positions.until(read, `what the log of site ${site} says of its life was not read in time`, signal);
  }

  all(): readonly recordV1.Life[] {
    return this.#options.view.lives.all(this.#options.site);
  }

  foundLost(check: Extract<ResumeCheck, { ok: false }>): boolean {
    if (!this.#options.restores || this.#lost === check.incarnation.id) {
      return this.#options.restores;
    }
    this.#lost = check.incarnation.id;
    this.#options.log.error("the site's log was set back: writes wait until it is restored", { reason: check.reason });
    this.#telling = this.#telling.then(() => this.#tell(check));
    return true;
  }

  async acceptLoss(): Promise<void> {
    const current = this.current();
    if (this.restoring === undefined || current === undefined) {
      throw new ContentError("precondition", "this site's log is not being restored");
    }
    const { LOST, WHOLE } = recordV1.LifeState;
    if (this.#lost === current.incarnation.id || current.life?.state === LOST) {
      throw new ContentError("unavailable", "the site's log was set back and has not begun another life yet");
    }
    await this.#append(current.incarnation, { ...current.life, state: WHOLE, acceptedLoss: true });
    this.#options.log.error("an operator gave up what other sites hold of this site's lost log", {
      waiting: current.life?.waiting,
    });
  }

  onChanged(listener: () => void): Disposable {
    const { positions } = this.#options.view;
    return positions.onWoken(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#telling;
  }

  #isWhole({ incarnation, life }: { incarnation: Incarnation; life?: recordV1.Life }): boolean {
    return this.#lost !== incarnation.id && life?.state === recordV1.LifeState.WHOLE;
  }

  /** Until it is said, or the log is in another life. */
  async #tell({ incarnation }: Extract<ResumeCheck, { ok: false }>): Promise<void> {
    const { log, site, timers, view } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        if (this.current()?.incarnation.id === incarnation.id) {
          const before = view.lives.of(site, incarnation.id);
          const { LOST } = recordV1.LifeState;
          if (before?.state === LOST) {
            return;
          }
          // What the log had brought back of earlier lives may be gone as well: only what is asked for anew counts.
          await this.#append(incarnation, { state: LOST });
          return;
        }
      } catch (error) {
        log.debug("could not say in the log that it was set back", { error });
      }
      const known = this.current();
      if (known !== undefined && known.incarnation.id !== incarnation.id) {
        return;
      }
      await timers.sleep(RETRY_MS, { signal }).catch(() => {});
    }
  }

  async #append(incarnation: Incarnation, life: Parameters<typeof encodeLife>[2]): Promise<void> {
    const { fold, site, timers } = this.#options;
    const message = "the log did not take in time what was to be said of its life";
    using deadline = new Deadline({ timers, ms: TIMEOUT_MS, message, signal: this.#stop.signal });
    const log = await fold.untilOwnLog(deadline.signal);
    const entry = { subject: lifeSubject(log.stream, incarnation), payload: encodeLife(site, incarnation, life) };
    await fold.untilRead(await log.append(entry, { signal: deadline.signal }), deadline.signal);
  }
}

function messageOf(site: string, life: recordV1.Life | undefined): string {
  const { asked = [], waiting = [], records = 0n } = life ?? {};
  const from = asked.length === 0 ? "" : ` from ${asked.join(", ")}`;
  const far = [
    asked.length === 0 && records === 0n ? "nobody could be asked yet" : `${records} records brought in${from}`,
    ...(waiting.length === 0 ? [] : [`waiting for ${waiting.join(", ")}`]),
  ];
  return `site ${site} takes no writes before its log has what other sites hold of it: ${far.join("; ")}`;
}
