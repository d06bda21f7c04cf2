import { compareIncarnations } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { Lives } from "./lives.ts";
import { formatVersion, type Position, parseVersion, type VersionVector } from "./version-token.ts";

/** How far this view shows each origin's log; whoever waits for a position is woken when one moves. */
export class Positions {
  readonly #shown = new Map<string, Position>();
  readonly #waiting = new Set<() => void>();
  readonly #listeners = new Set<(origin: string) => void>();
  readonly #onWoken = new Set<() => void>();
  readonly #lives: Lives;
  #token: string | undefined;

  constructor(lives: Lives) {
    this.#lives = lives;
  }

  get(origin: string): Position | undefined {
    return this.#shown.get(origin);
  }

  all(): VersionVector {
    return this.#shown;
  }

  /** Moves an origin; undefined when nothing of it is shown any more. */
  set(origin: string, position: Position | undefined): void {
    const known = this.#shown.get(origin);
    if (known?.sequence === position?.sequence && known?.incarnation.id === position?.incarnation.id) {
      return;
    }
    if (position === undefined) {
      this.#shown.delete(origin);
    } else {
      this.#shown.set(origin, position);
    }
    this.#token = undefined;
    for (const listener of this.#listeners) {
      listener(origin);
    }
    this.wake();
  }

  /** Calls `listener` with the origin whenever an origin's position changes, until disposed. */
  onMoved(listener: (origin: string) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Calls `listener` whenever those who wait look again, until disposed. */
  onWoken(listener: () => void): Disposable {
    this.#onWoken.add(listener);
    return { [Symbol.dispose]: () => void this.#onWoken.delete(listener) };
  }

  /** The vector as a token; made once per change. */
  version(): string {
    this.#token ??= formatVersion(this.#shown);
    return this.#token;
  }

  /** Makes those who wait look again. */
  wake(): void {
    for (const look of [...this.#waiting]) {
      look();
    }
    for (const listener of this.#onWoken) {
      listener();
    }
  }

  /**
   * Resolves once `reached` is true.
   * @throws whatever `reached` throws; ContentError `unavailable` when the signal aborts first.
   */
  async until(reached: () => boolean, message: string, signal: AbortSignal): Promise<void> {
    if (reached()) {
      return;
    }
    if (signal.aborted) {
      throw new ContentError("unavailable", message, { cause: signal.reason });
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      try {
        if (reached()) {
          resolve();
        }
      } catch (error) {
        reject(error);
      }
    };
    const onAbort = (): void => reject(new ContentError("unavailable", message, { cause: signal.reason }));
    this.#waiting.add(look);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      this.#waiting.delete(look);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Resolves once everything that the token names is shown. Errors as {@link ../catalog.ts} says of `reached`. */
  async reached(token: string, signal: AbortSignal): Promise<void> {
    const wanted = [...parseVersion(token)];
    const shows = (): boolean => wanted.every(([site, position]) => this.#shows(site, position));
    await this.until(shows, "this site has not caught up with the wanted version yet", signal);
  }

  #shows(site: string, { incarnation, sequence }: Position): boolean {
    const shown = this.#shown.get(site);
    if (shown === undefined) {
      return sequence === 0;
    }
    const order = compareIncarnations(shown.incarnation, incarnation);
    if (order <= 0) {
      return order === 0 && shown.sequence >= sequence;
    }
    const coverage = this.#lives.covers(site, shown, { incarnation, sequence });
    if (coverage === "lost") {
      throw new ContentError("precondition", `the version names what the log of ${site} has lost`);
    }
    return coverage === "shown";
  }
}
