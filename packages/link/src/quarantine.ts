import type { Cursor, NewEntry } from "@meridian/eventlog";
import type { Logger } from "@meridian/runtime";

/** An entry of an origin that could not be stored. */
export interface QuarantinedEntry {
  readonly origin: Cursor;
  readonly subject: string;
  readonly payloadBytes: number;
  readonly reason: string;
}

type Refused = NewEntry & { readonly origin: Cursor };

const KEPT = 100;

/**
 * Entries put aside because they may not be stored. The newest hundred are remembered, in memory: after a restart the
 * origin sends them again if nothing behind them was stored, and they are put aside again.
 */
export class Quarantine {
  readonly #log: Logger;
  readonly #entries: QuarantinedEntry[] = [];
  readonly #refused = new Map<string, string>();
  #count = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** How many were put aside since start. */
  get count(): number {
    return this.#count;
  }

  get entries(): readonly QuarantinedEntry[] {
    return this.#entries;
  }

  add({ origin, subject, payload }: Refused, reason: string): void {
    this.#count += 1;
    this.#entries.push({ origin, subject, payloadBytes: payload.length, reason });
    if (this.#entries.length > KEPT) this.#entries.shift();
    const fields = { sequence: origin.sequence, subject: subject.slice(0, 200), bytes: payload.length, reason };
    this.#log.error("a record of a peer was put into quarantine", fields);
  }

  /** Remembers that the local log refused an entry, so that it is put aside when it is sent again. */
  refuse({ origin }: Refused, reason: string): void {
    if (this.#refused.size >= KEPT) this.#refused.clear();
    this.#refused.set(keyOf(origin), reason);
  }

  /** Why the local log refused this entry before; undefined when it did not. */
  refusal({ origin }: Refused): string | undefined {
    return this.#refused.get(keyOf(origin));
  }
}

function keyOf({ incarnation, sequence }: Cursor): string {
  return `${incarnation.id} ${sequence}`;
}
