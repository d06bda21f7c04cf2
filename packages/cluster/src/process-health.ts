import type { Clock } from "@meridian/runtime";
import { nodeName, type ProcessAddress } from "./topology.ts";

/** How long a process that could not be reached is listed behind the others, in milliseconds. */
const AVOIDED_MS = 5_000;

/** Remembers which processes could not be reached lately, so that others are asked first. */
export class ProcessHealth {
  readonly #clock: Clock;
  readonly #failedAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  reached(address: ProcessAddress): void {
    this.#failedAt.delete(nodeName(address));
  }

  unreachable(address: ProcessAddress): void {
    this.#failedAt.set(nodeName(address), this.#clock.monotonic());
  }

  /** False for {@link AVOIDED_MS} after a failure, unless it was reached since. */
  believedAlive(address: ProcessAddress): boolean {
    const failedAt = this.#failedAt.get(nodeName(address));
    return failedAt === undefined || this.#clock.monotonic() - failedAt > AVOIDED_MS;
  }
}
