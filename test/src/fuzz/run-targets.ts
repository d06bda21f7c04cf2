import { globSync } from "node:fs";
import { resolve } from "node:path";
import type { FuzzTarget } from "@meridian/oci/fuzz";
import fc from "fast-check";

/** An input that a parser did not stand. */
export interface FuzzFinding {
  readonly target: string;
  /** Of the batch that holds it. */
  readonly seed: number;
  readonly input: unknown;
  readonly error: unknown;
}

const BATCH = 1_000;
/** CPU time. No input that the generators make is longer than some kilobytes: even a slow machine reads it in far less. */
const MAX_MS = 100;

/** All targets of all packages: what `*.fuzz.ts` exports as `targets`. */
export async function allTargets(): Promise<FuzzTarget[]> {
  const root = resolve(import.meta.dirname, "../../..");
  const files = globSync("packages/*/src/**/*.fuzz.ts", { cwd: root }).sort();
  const modules = await Promise.all(
    files.map((file) => import(resolve(root, file)) as Promise<{ targets: FuzzTarget[] }>),
  );
  return modules.flatMap(({ targets }) => targets);
}

/** Tries one batch of inputs; the same seed gives the same inputs. Answers the first one that fails. */
export function runBatch({ name, inputs, check }: FuzzTarget, seed: number, count = BATCH): FuzzFinding | undefined {
  for (const input of fc.sample(inputs, { seed, numRuns: count })) {
    const started = performance.now();
    try {
      check(input);
      if (performance.now() - started > MAX_MS) requireFast(check, input);
    } catch (error) {
      return { target: name, seed, input, error };
    }
  }
  return undefined;
}

/** The machine may have been busy with something else: CPU time counts, and the best of five. */
function requireFast(check: FuzzTarget["check"], input: unknown): void {
  let best = Number.POSITIVE_INFINITY;
  for (let n = 0; n < 5; n++) {
    const started = process.cpuUsage();
    check(input);
    const { user, system } = process.cpuUsage(started);
    best = Math.min(best, (user + system) / 1000);
  }
  if (best > MAX_MS) throw new Error(`reading it takes ${best.toFixed(0)} ms of CPU time`);
}

/** The smallest input that fails like the finding's. */
export function shrink({ inputs, check }: FuzzTarget, finding: FuzzFinding): unknown {
  const property = fc.property(inputs, (input) => check(input));
  const { counterexample } = fc.check(property, { seed: finding.seed, numRuns: BATCH });
  return counterexample?.[0] ?? finding.input;
}

/** Inputs of each batch. */
export const BATCH_SIZE = BATCH;
