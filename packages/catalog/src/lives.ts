import { decodeLife } from "@meridian/eventlog";
import type { OrderedReader, OrderedTransaction } from "@meridian/keyvalue";
import { recordV1 } from "@meridian/wire";
import { SEPARATOR } from "./keys.ts";
import type { Position } from "./version-token.ts";
import { under } from "./view-layout.ts";

/** What a log says of one of its lives. */
export interface IncomingLife {
  readonly life: recordV1.Life;
  readonly payload: Uint8Array;
  /** In the log that says so. */
  readonly originSequence: number;
}

/** Whether a view that shows an origin up to `shown` has what a position in an earlier life of its log names. */
export type Coverage = "shown" | "not yet" | "lost";

const PREFIX = `l${SEPARATOR}`;

interface KnownLife {
  readonly life: recordV1.Life;
  readonly sequence: number;
}

/** What every site's log has said of its lives, as far as it is folded: which of what was lost it has brought back. */
export class Lives {
  /** By site, then by the incarnation's id. */
  readonly #known = new Map<string, Map<string, KnownLife>>();

  /** Reads what a view has stored. */
  load(reader: OrderedReader): void {
    this.#known.clear();
    for (const [key, row] of reader.range(under(PREFIX))) {
      const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
      const [, site = ""] = key.split(SEPARATOR);
      this.#note(site, { life: decodeLife(bytes.subarray(8)), sequence: Number(bytes.readBigUInt64BE(0)) });
    }
  }

  /** Stores in a view's transaction what {@link Lives.note} is told after it. */
  store(tx: OrderedTransaction, site: string, lives: readonly IncomingLife[]): void {
    for (const { life, payload, originSequence } of lives) {
      const sequence = Buffer.alloc(8);
      sequence.writeBigUInt64BE(BigInt(originSequence));
      tx.put(PREFIX + site + SEPARATOR + life.id, Buffer.concat([sequence, payload]));
    }
  }

  note(site: string, lives: readonly IncomingLife[]): void {
    for (const { life, originSequence } of lives) {
      this.#note(site, { life, sequence: originSequence });
    }
  }

  /** What the site's log said last of the life; undefined when nothing was folded of that. */
  of(site: string, id: string): recordV1.Life | undefined {
    return this.#known.get(site)?.get(id)?.life;
  }

  /** Everything that the site's log has said of its lives. */
  all(site: string): recordV1.Life[] {
    return [...(this.#known.get(site)?.values() ?? [])].map(({ life }) => life);
  }

  /** Whether what stood at a position of an earlier life is in the later one, of which the view shows so much. */
  covers(site: string, shown: Position, { incarnation, sequence }: Position): Coverage {
    const known = this.#known.get(site)?.get(shown.incarnation.id);
    if (known?.life.state !== recordV1.LifeState.WHOLE) {
      return "not yet";
    }
    const earlier = known.life.earlier.find(({ id }) => id === incarnation.id);
    if (earlier === undefined || Number(earlier.sequence) < sequence) {
      return "lost";
    }
    return shown.sequence >= known.sequence ? "shown" : "not yet";
  }

  #note(site: string, known: KnownLife): void {
    const ofSite = this.#known.get(site) ?? new Map<string, KnownLife>();
    ofSite.set(known.life.id, known);
    this.#known.set(site, ofSite);
  }
}
