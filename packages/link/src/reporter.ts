import type { Cursor } from "@meridian/eventlog";
import type { Timers } from "@meridian/runtime";
import type { RequestStream } from "./request-stream.ts";
import { toWireCursor } from "./wire-cursor.ts";

/** Reports after new entries wait this long for more, in milliseconds. */
const COALESCE_MS = 10;
const LOOK_EVERY_MS = 1_000;

/** Where all live gateways of a site stand in an origin's log, as the catalog says it. */
export interface FoldedPosition {
  /** The `id` of the origin's incarnation. */
  readonly incarnation: string;
  readonly sequence: number;
}

/** Sends (copied, folded) when it changed: soon after entries were copied, and within a second after anything else. */
export class Reporter implements Disposable {
  readonly #requests: RequestStream;
  readonly #timers: Timers;
  readonly #copied: () => Cursor | undefined;
  readonly #folded: () => FoldedPosition | undefined;
  readonly #looking: Disposable;
  #soon: Disposable | undefined;
  #sent = "";

  constructor(options: {
    requests: RequestStream;
    timers: Timers;
    copied: () => Cursor | undefined;
    folded: () => FoldedPosition | undefined;
  }) {
    this.#requests = options.requests;
    this.#timers = options.timers;
    this.#copied = options.copied;
    this.#folded = options.folded;
    this.#looking = options.timers.every(LOOK_EVERY_MS, () => this.#send());
  }

  /** Something was copied. */
  changed(): void {
    this.#soon ??= this.#timers.after(COALESCE_MS, () => {
      this.#soon = undefined;
      this.#send();
    });
  }

  [Symbol.dispose](): void {
    this.#looking[Symbol.dispose]();
    this.#soon?.[Symbol.dispose]();
  }

  #send(): void {
    const copied = this.#copied();
    if (copied === undefined) return;
    const folded = this.#folded();
    const foldedHere = folded !== undefined && folded.incarnation === copied.incarnation.id ? folded : undefined;
    const key = `${copied.incarnation.id} ${copied.sequence} ${foldedHere?.sequence}`;
    if (key === this.#sent) return;
    this.#sent = key;
    const { incarnation } = copied;
    this.#requests.report({
      copied: toWireCursor(copied),
      ...(foldedHere && { folded: toWireCursor({ incarnation, sequence: foldedHere.sequence }) }),
    });
  }
}
