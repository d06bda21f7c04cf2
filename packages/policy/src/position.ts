import type { policyV1 } from "@meridian/wire";

/** One reign of a policy home. Ordered by number, then site. */
export interface Epoch {
  readonly number: number;
  readonly site: string;
}

/** A place in the policy log. Two logs that hold an entry at the same position agree on everything before it. */
export interface Position {
  readonly epoch: Epoch;
  /** 1 for the first entry; without gaps. */
  readonly seq: number;
}

/** Negative when `a` is the older epoch, 0 when they are the same. */
export function compareEpochs(a: Epoch, b: Epoch): number {
  if (a.number !== b.number) return a.number - b.number;
  if (a.site === b.site) return 0;
  return a.site < b.site ? -1 : 1;
}

/** The revision as users see it: `<epoch>.<rev>`; "0.0" before the first entry. */
export function formatRevision(position: Position | undefined): string {
  return position ? `${position.epoch.number}.${position.seq}` : "0.0";
}

/** Reads an epoch from its message; an absent one is the zero epoch, older than all. */
export function epochFromWire(epoch: policyV1.Epoch | undefined): Epoch {
  return { number: Number(epoch?.number ?? 0n), site: epoch?.site ?? "" };
}

/** The message of an epoch. */
export function epochToWire(epoch: Epoch): { number: bigint; site: string } {
  return { number: BigInt(epoch.number), site: epoch.site };
}

/** Reads a position; undefined when the message is absent. */
export function positionFromWire(position: policyV1.Position | undefined): Position | undefined {
  return position && { epoch: epochFromWire(position.epoch), seq: Number(position.seq) };
}

/** The message of a position; undefined for "nothing held". */
export function positionToWire(
  position: Position | undefined,
): { epoch: { number: bigint; site: string }; seq: bigint } | undefined {
  return position && { epoch: epochToWire(position.epoch), seq: BigInt(position.seq) };
}

/** Where an entry stands. */
export function positionOf(entry: policyV1.Entry): Position {
  return { epoch: epochFromWire(entry.epoch), seq: Number(entry.seq) };
}
