import { setTimeout as sleep } from "node:timers/promises";
import { cpuMs, type Peer } from "./peers/peer.ts";
import { median } from "./statistics.ts";

export const ROUNDS = 5;
export const SECONDS = 2;

/** One line of the table. */
export interface Row {
  readonly work: string;
  readonly unit: "/s" | "GB/s" | "s";
  /** What design.md §10 asks for: figure divided by that of the peer, `atLeast` or `atMost`. */
  readonly targets: readonly Target[];
  /** Medians by peer. */
  readonly figures: ReadonlyMap<string, number>;
  /** Medians of the CPU time in microseconds that one piece of work took at the peer; of 1 MB where the unit is GB/s. */
  readonly cpu: ReadonlyMap<string, number>;
  /** Medians of Meridian's figure divided by each peer's of the same round. */
  readonly ratios: ReadonlyMap<string, number>;
}

export interface Target {
  readonly peer: string;
  readonly atLeast?: number;
  readonly atMost?: number;
  /** A goal that nobody was promised. */
  readonly aim?: boolean;
}

/** A line that can be measured. */
export interface PlannedRow {
  readonly work: string;
  measure(): Promise<Row>;
}

/** One round's figure, and how many pieces of work it was. */
export interface Figure {
  readonly value: number;
  readonly pieces: number;
}

/** What one peer does in a round. */
export interface Worker {
  readonly name: string;
  readonly peer: Peer;
  /** Over TLS; plain when absent. */
  readonly secure?: boolean;
  run(): Promise<Figure>;
}

/** The line that {@link compare} measures. */
export function planned(
  what: Pick<Row, "work" | "unit" | "targets">,
  workers: readonly Worker[],
  restMs = 0,
): PlannedRow {
  return { work: what.work, measure: () => compare(what, workers, restMs) };
}

/**
 * Five rounds of each worker in turn, after one that does not count (caches, the JIT); the ratios are taken round by
 * round, so that what else the machine does falls on both. `restMs` passes before each.
 */
async function compare(
  what: Pick<Row, "work" | "unit" | "targets">,
  workers: readonly Worker[],
  restMs = 0,
): Promise<Row> {
  const figures = new Map(workers.map(({ name }) => [name, [] as number[]]));
  const cpu = new Map(workers.map(({ name }) => [name, [] as number[]]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const { name, peer, secure = false, run } of workers) {
      await sleep(restMs);
      const before = cpuMs(peer.pids(secure));
      const { value, pieces } = await run();
      if (round < 0) continue;
      figures.get(name)?.push(value);
      cpu.get(name)?.push(((cpuMs(peer.pids(secure)) - before) * 1000) / pieces);
    }
  }
  const ours = figures.get(workers[0]?.name ?? "") ?? [];
  const ratioTo = (theirs: readonly number[]): number =>
    median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)));
  return {
    ...what,
    figures: new Map([...figures].map(([name, values]) => [name, median(values)])),
    cpu: new Map([...cpu].map(([name, values]) => [name, median(values)])),
    ratios: new Map([...figures].slice(1).map(([name, values]) => [name, ratioTo(values)])),
  };
}
