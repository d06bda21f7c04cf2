import type { OrderedReader } from "@meridian/keyvalue";
import { ContentError, type Digest } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import type { CatalogPins } from "./catalog.ts";
import { Deadline } from "./deadline.ts";
import type { Fold } from "./fold.ts";
import type { HlcClock } from "./hlc.ts";
import type { Pin, Pins } from "./pins.ts";
import { type RelinkParts, relink } from "./relink.ts";
import { isLinked, readStanding } from "./standing.ts";
import type { View } from "./view.ts";
import type { ViewChanges } from "./view-changes.ts";

export interface PinKeeperOptions {
  readonly site: string;
  readonly pins: Pins;
  readonly view: View;
  readonly fold: Fold;
  readonly hlc: HlcClock;
  readonly life?: RelinkParts["life"];
  readonly timers: Timers;
  readonly log: Logger;
}

/** The repository of pins that keep bytes only. */
const NOWHERE = "";
const RELINK_TIMEOUT_MS = 10_000;
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 2_000;
/** Links published together. */
const BATCH = 500;
/** Pins that have ended are removed this often, in milliseconds. */
const SWEEP_EVERY_MS = 3_600_000;

/**
 * Keeps what is pinned linked (consistency.md §7): when a pinned link stops being visible, whatever the cause, it is
 * published again, and no position counts as folded before that. What happened while nobody looked, because the process
 * died in between or the view was made again, is found when the own log has been read to its head.
 */
export class PinKeeper implements CatalogPins, AsyncDisposable {
  readonly #options: PinKeeperOptions;
  readonly #stop = new AbortController();
  readonly #open = new DisposableStack();
  readonly #background = new Set<Promise<void>>();
  readonly #unlinked = new Map<string, Pin>();
  #relinking: Promise<void> | undefined;
  #isFirstLook = true;

  constructor(options: PinKeeperOptions) {
    const { fold, timers, view } = options;
    this.#options = options;
    view.guard((changes) => this.#keep(changes));
    this.#open.use(
      fold.onOwnLogBack(() => {
        this.#inBackground(this.#lookThroughAll({ held: this.#isFirstLook }));
        this.#isFirstLook = false;
      }),
    );
    this.#open.use(timers.every(SWEEP_EVERY_MS, () => this.#inBackground(this.#sweep())));
  }

  /** What the view that was stored shows as folded has to be linked before any of it counts. To be called before the fold starts. */
  async open(): Promise<void> {
    const { site, view } = this.#options;
    const looked = Promise.withResolvers<void>();
    view.freeze(looked.promise);
    try {
      const isFolded = view.cursor({ stream: `META_${site}`, site, own: true }) !== undefined;
      if (isFolded) await this.#lookThrough({ held: true });
    } finally {
      looked.resolve();
    }
  }

  pin(repository: string, digest: Digest, size: number): void {
    this.#options.pins.pin({ repository, digest, size });
  }

  hold(digest: Digest): void {
    this.#options.pins.pin({ repository: NOWHERE, digest, size: 0 });
  }

  unpin(repository: string, digest: Digest): void {
    this.#options.pins.unpin(repository, digest);
    this.#unlinked.delete(`${repository} ${digest}`);
  }

  isPinned(digest: Digest, repository?: string): boolean {
    const { pins } = this.#options;
    return repository === undefined ? pins.has(digest) : pins.get(repository, digest) !== undefined;
  }

  async relinked(): Promise<void> {
    await this.#relinking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open.dispose();
    this.#stop.abort();
    await Promise.all(this.#background);
    await this.#relinking;
    await this.#options.pins[Symbol.asyncDispose]();
  }

  #keep({ events }: ViewChanges): Promise<void> | undefined {
    const { pins, view } = this.#options;
    let found = false;
    for (const event of events) {
      if (event.kind !== "link" || event.visible) continue;
      const pin = pins.get(event.repository, event.digest);
      if (pin === undefined || isShown(view.store, pin)) continue;
      this.#unlinked.set(`${pin.repository} ${pin.digest}`, pin);
      found = true;
    }
    return found ? this.#begin() : undefined;
  }

  #begin(): Promise<void> {
    this.#relinking ??= this.#relinkAll().finally(() => {
      this.#relinking = undefined;
    });
    return this.#relinking;
  }

  /** Until all are linked again or their pins have ended. Never rejects. */
  async #relinkAll(): Promise<void> {
    const { log, timers } = this.#options;
    const { signal } = this.#stop;
    let pauseMs = RETRY_FIRST_MS;
    for (let batch = this.#batch(); batch.length > 0 && !signal.aborted; batch = this.#batch()) {
      try {
        await this.#relink(batch);
        pauseMs = RETRY_FIRST_MS;
      } catch (error) {
        if (signal.aborted) return;
        if (pauseMs === RETRY_FIRST_MS) log.warn("what is pinned could not be linked again yet", { error });
        await timers.sleep(pauseMs, { signal }).catch(() => {});
        pauseMs = Math.min(pauseMs * 2, RETRY_MAX_MS);
      }
    }
  }

  /** The first of those that still have to be linked; the others are forgotten. */
  #batch(): Pin[] {
    const { pins, view } = this.#options;
    const batch: Pin[] = [];
    for (const [key, pin] of this.#unlinked) {
      if (pins.get(pin.repository, pin.digest) === undefined || isShown(view.store, pin)) this.#unlinked.delete(key);
      else if (batch.push(pin) === BATCH) break;
    }
    return batch;
  }

  async #relink(batch: readonly Pin[]): Promise<void> {
    const { timers, view } = this.#options;
    const message = "the log did not take the links of what is pinned in time";
    using deadline = new Deadline({ timers, ms: RELINK_TIMEOUT_MS, message, signal: this.#stop.signal });
    await relink(batch, this.#options, deadline.signal);
    if (!batch.some((pin) => isShown(view.store, pin))) {
      throw new ContentError("unavailable", "links that were published are not shown yet: is the clock right?");
    }
  }

  /** Never rejects. */
  async #lookThroughAll(options: { held: boolean }): Promise<void> {
    const { fold, log, view } = this.#options;
    const { signal } = this.#stop;
    try {
      await view.positions.until(() => fold.caughtUp, "the logs were not read to their heads", signal);
      await this.#lookThrough(options);
    } catch (error) {
      if (!signal.aborted) log.error("what is pinned could not be looked through", { error });
    }
  }

  /** `held`: only what some node is recorded to hold, for the rest may have been collected while the process was away. */
  async #lookThrough({ held }: { held: boolean }): Promise<void> {
    const { pins, timers, view } = this.#options;
    for (const page of pins.pages()) {
      for (const pin of page) {
        if (isShown(view.store, pin) || (held && view.reader.holders(pin.digest).length === 0)) continue;
        this.#unlinked.set(`${pin.repository} ${pin.digest}`, pin);
      }
      await timers.sleep(0, { signal: this.#stop.signal });
    }
    if (this.#unlinked.size > 0) view.freeze(this.#begin());
  }

  async #sweep(): Promise<void> {
    const { pins, timers } = this.#options;
    for (const _page of pins.pages()) {
      if (this.#stop.signal.aborted) return;
      await timers.sleep(0);
    }
  }

  #inBackground(work: Promise<void>): void {
    this.#background.add(work);
    void work.finally(() => this.#background.delete(work));
  }
}

/** Nothing is to be linked again of what is only held. */
function isShown(reader: OrderedReader, { repository, digest }: Pin): boolean {
  return repository === NOWHERE || isLinked(readStanding(reader, repository, digest));
}
