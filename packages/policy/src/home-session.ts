import type { policyV1 } from "@meridian/wire";
import { Changes } from "./changes.ts";
import { epochAt, type LogMirror } from "./log-mirror.ts";
import { compareEpochs, type Position, positionFromWire } from "./position.ts";

/** The home's end of one member's tail. */
export class HomeSession {
  readonly site: string;
  /** Wakes the sender. */
  readonly changes = new Changes();
  /** The newest nonce read from the member. */
  nonce = 0n;
  /** Sequence of the last entry sent, or known to be held. */
  sentSeq = 0;
  /** Counts reports, so that each is answered. */
  reports = 0;
  ended = false;

  constructor(site: string) {
    this.site = site;
  }

  end(): void {
    this.ended = true;
    this.changes.emit();
  }
}

/** Where a member that holds `last` goes on: after this place, everything later of its own being dropped. */
export interface ResumePoint {
  readonly after: Position | undefined;
  readonly truncate: boolean;
}

/** Finds the place up to which the member's log can agree with the home's. */
export function resumePoint(home: LogMirror, homeLast: Position | undefined, last: Position | undefined): ResumePoint {
  if (!last) return { after: undefined, truncate: false };
  const own = epochAt(home, last.seq);
  if (own && compareEpochs(own, last.epoch) === 0) return { after: last, truncate: false };
  // No entry of an epoch newer than the member's last one can be in its log at this place.
  let seq = Math.min(last.seq, homeLast?.seq ?? 0);
  for (; seq > 0; seq--) {
    const epoch = epochAt(home, seq);
    if (epoch && compareEpochs(epoch, last.epoch) <= 0) return { after: { epoch, seq }, truncate: true };
  }
  return { after: undefined, truncate: true };
}

/** Reads a report: the member's durable position when the home holds that very entry, else undefined. */
export function durableSeq(home: LogMirror, report: policyV1.TailReport): number | undefined {
  const durable = positionFromWire(report.durable);
  if (!durable) return undefined;
  const own = epochAt(home, durable.seq);
  return own && compareEpochs(own, durable.epoch) === 0 ? durable.seq : undefined;
}
