import type { LogEntry, NewEntry } from "../event-log.ts";

/** Entries of a copy that were handed in and are not on disk yet, for readers that need not wait for the disk. */
export class AheadEntries {
  #entries: LogEntry[] = [];
  #failures = 0;

  /** How often entries that were here did not get to the disk: who was shown some must read again. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Takes an entry in when its place is known: when it names as its predecessor the last one here, or, when none is,
   * the last on disk (`head`). True when it was taken in.
   */
  add({ subject, payload, traceparent, origin }: NewEntry, predecessor: number | undefined, head: number): boolean {
    if (predecessor !== (this.#entries.at(-1)?.sequence ?? head)) {
      return false;
    }
    this.#entries.push({
      sequence: predecessor + 1,
      subject,
      payload,
      ...(traceparent !== undefined && { traceparent }),
      ...(origin !== undefined && { origin }),
    });
    return true;
  }

  /** Those behind `sequence`, when it is the place before one of them. */
  after(sequence: number): LogEntry[] {
    const first = this.#entries[0]?.sequence ?? Number.POSITIVE_INFINITY;
    return sequence < first - 1 ? [] : this.#entries.slice(sequence - first + 1);
  }

  /** Everything up to the sequence is on disk. */
  stored(sequence: number): void {
    const waiting = this.#entries.findIndex((entry) => entry.sequence > sequence);
    this.#entries = waiting < 0 ? [] : this.#entries.slice(waiting);
  }

  /** One of them could not be stored: then none behind it can. */
  failed(): void {
    this.#entries = [];
    this.#failures += 1;
  }
}
