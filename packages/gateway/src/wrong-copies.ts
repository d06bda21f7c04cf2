import type { Digest } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";

const REMEMBERED_MS = 10 * 60_000;

/** Which nodes' copies were found to be wrong, remembered for ten minutes. */
export class WrongCopies {
  readonly #clock: Clock;
  /** "<site>/<node> <digest>" → monotonic time of the end. */
  readonly #until = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(node: string, digest: Digest): void {
    const now = this.#clock.monotonic();
    for (const [copy, until] of this.#until) if (until <= now) this.#until.delete(copy);
    this.#until.set(`${node} ${digest}`, now + REMEMBERED_MS);
  }

  has(node: string, digest: Digest): boolean {
    const until = this.#until.get(`${node} ${digest}`);
    return until !== undefined && until > this.#clock.monotonic();
  }
}
