import { fromBinary } from "@bufbuild/protobuf";
import { policyV1 } from "@meridian/wire";
import { type Exclusion, exclusionFromWire } from "./membership.ts";
import { compareEpochs, type Epoch, epochFromWire, type Position, positionFromWire, positionOf } from "./position.ts";

/*
 * Layout of the stream POLICY, which each site keeps in its own log, compacted:
 *
 *   p.e.<number>-<site>.<seq>   Entry; empty payload: dropped again (it was never committed)
 *   p.commit                    Position up to which entries are effective
 *   p.excluded                  Exclusion: this site is no member any more; empty payload: it is one again
 *   p.fresh                     8 bytes, big endian: wall-clock milliseconds of the last word from the home
 */
export const COMMIT_SUBJECT = "p.commit";
export const FRESH_SUBJECT = "p.fresh";
export const EXCLUDED_SUBJECT = "p.excluded";

/** The subject of an entry: unique, so that compaction keeps every one. */
export function entrySubject({ epoch, seq }: Position): string {
  return `p.e.${epoch.number}-${epoch.site}.${seq}`;
}

/** What the stream says, whatever order compaction left it in. */
export class LogMirror {
  readonly #entries = new Map<number, policyV1.Entry>();
  #floor = 0;
  #length = 0;
  #commit: Position | undefined;
  #freshAtMs: number | undefined;
  #exclusion: Exclusion | undefined;

  /** Up to where entries are effective; undefined when none is. */
  get commit(): Position | undefined {
    return this.#commit;
  }

  /** Wall-clock milliseconds since the Unix epoch of the last word from the home; undefined when none is recorded. */
  get freshAtMs(): number | undefined {
    return this.#freshAtMs;
  }

  /** What the home said last of this site's not being a member; undefined while it is one. */
  get exclusion(): Exclusion | undefined {
    return this.#exclusion;
  }

  /** The last entry of the gapless prefix; undefined when there is none. */
  get last(): policyV1.Entry | undefined {
    return this.#entries.get(this.#length);
  }

  /** The entry at a sequence; undefined when it is not held, or forgotten. */
  at(seq: number): policyV1.Entry | undefined {
    return seq <= this.#length ? this.#entries.get(seq) : undefined;
  }

  /** Takes one entry of the stream. Subjects of others are ignored. */
  ingest(subject: string, payload: Uint8Array): void {
    if (subject === COMMIT_SUBJECT) this.#takeCommit(payload);
    else if (subject === FRESH_SUBJECT) this.#freshAtMs = Number(Buffer.from(payload).readBigUInt64BE());
    else if (subject === EXCLUDED_SUBJECT) this.#takeExclusion(payload);
    else if (subject.startsWith("p.e.")) this.#takeEntry(subject, payload);
  }

  /** Frees entries up to `seq`: a reader that has folded them needs them no more. */
  forget(seq: number): void {
    for (let next = this.#floor + 1; next <= Math.min(seq, this.#length); next++) this.#entries.delete(next);
    this.#floor = Math.max(this.#floor, Math.min(seq, this.#length));
  }

  #takeCommit(payload: Uint8Array): void {
    const position = positionFromWire(fromBinary(policyV1.PositionSchema, payload));
    if (position && position.seq >= (this.#commit?.seq ?? 0)) this.#commit = position;
  }

  #takeExclusion(payload: Uint8Array): void {
    this.#exclusion =
      payload.length === 0 ? undefined : exclusionFromWire(fromBinary(policyV1.ExclusionSchema, payload));
  }

  #takeEntry(subject: string, payload: Uint8Array): void {
    if (payload.length === 0) {
      this.#drop(subject);
    } else {
      const entry = fromBinary(policyV1.EntrySchema, payload);
      const seq = Number(entry.seq);
      const held = this.#entries.get(seq);
      if (seq > this.#floor && (!held || compareEpochs(positionOf(entry).epoch, epochFromWire(held.epoch)) >= 0))
        this.#entries.set(seq, entry);
    }
    while (this.#entries.has(this.#length + 1)) this.#length++;
  }

  #drop(subject: string): void {
    const seq = Number(subject.slice(subject.lastIndexOf(".") + 1));
    const held = this.#entries.get(seq);
    if (!held || entrySubject(positionOf(held)) !== subject) return;
    this.#entries.delete(seq);
    this.#length = Math.min(this.#length, seq - 1);
  }
}

/** The epoch of the entry at a sequence; undefined when none is held there. */
export function epochAt(mirror: LogMirror, seq: number): Epoch | undefined {
  const entry = mirror.at(seq);
  return entry && epochFromWire(entry.epoch);
}
