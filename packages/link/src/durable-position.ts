import type { Cursor } from "@meridian/eventlog";
import type { Clock } from "@meridian/runtime";

const STEP_MS = 1_000;

/**
 * The position that a power loss cannot take back, for a log that acknowledges before it has fsynced: what was copied
 * at least `delayMs` ago. With a delay of 0 it is what was copied.
 */
export class DurablePosition {
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #pending: { readonly begun: number; at: number; cursor: Cursor }[] = [];
  #durable: Cursor | undefined;

  /** `start` was copied at some time before: it counts from now on. */
  constructor(options: { clock: Clock; delayMs: number; start: Cursor | undefined }) {
    this.#clock = options.clock;
    this.#delayMs = options.delayMs;
    if (options.start !== undefined) this.copied(options.start);
  }

  copied(cursor: Cursor): void {
    if (this.#delayMs === 0) {
      this.#durable = cursor;
      return;
    }
    const now = this.#clock.monotonic();
    const at = now + this.#delayMs;
    const last = this.#pending.at(-1);
    // One step a second is fine enough, and bounds the list. A step waits for the newest cursor in it.
    if (last === undefined || now - last.begun >= STEP_MS) this.#pending.push({ begun: now, at, cursor });
    else Object.assign(last, { at, cursor });
  }

  /** Undefined while nothing is durable. */
  get current(): Cursor | undefined {
    const now = this.#clock.monotonic();
    while (this.#pending[0] !== undefined && this.#pending[0].at <= now) this.#durable = this.#pending.shift()!.cursor;
    return this.#durable;
  }
}
