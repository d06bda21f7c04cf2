import { DEFAULT_WINDOW } from "./frames.ts";

/** The default of 64 KiB holds a push over 80 ms down to 0.8 MB/s. */
export const STREAM_WINDOW = 8 * 1024 * 1024;
export const SESSION_WINDOW = 16 * 1024 * 1024;

/** Told in steps of this share of the whole: often enough that a client never waits, rarely enough to cost nothing. */
const STEP_SHARE = 1 / 16;

/** How much may still come, of one body or of all of a connection (RFC 9113 §5.2). */
export class ReceiveWindow {
  readonly #step: number;
  #left: number;
  #untold = 0;
  /** What to tell at the start, so that it is larger than the default. */
  readonly opening: number;

  constructor(bytes: number) {
    this.#left = bytes;
    this.#step = bytes * STEP_SHARE;
    this.opening = bytes - DEFAULT_WINDOW;
  }

  /** False when more came than was allowed. */
  take(bytes: number): boolean {
    this.#left -= bytes;
    return this.#left >= 0;
  }

  /** So many bytes are not in memory any more: gives what the client is to be told now, or 0. */
  consumed(bytes: number): number {
    this.#untold += bytes;
    if (this.#untold < this.#step) return 0;
    const told = this.#untold;
    this.#untold = 0;
    this.#left += told;
    return told;
  }
}
