import { once } from "node:events";
import { availableParallelism } from "node:os";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { type RunReport, simulate } from "./run.ts";
import type { Step } from "./steps.ts";
import { stepsOf } from "./steps.ts";

/** A seed whose run broke a promise. */
export interface Violation {
  readonly seed: number;
  readonly message: string;
}

/** What many runs did together. */
export interface Tally {
  seeds: number;
  writes: number;
  answered: number;
  deaths: number;
  losses: number;
  events: number;
  simulatedMs: number;
}

type Answer = { readonly seed: number } & ({ readonly report: RunReport } | { readonly message: string });

/** Runs the seeds from `from` on, `count` of them, in as many threads as there are cores. */
export async function simulateMany(options: {
  readonly from: number;
  readonly count: number;
  readonly threads?: number;
  readonly onViolation?: (violation: Violation) => void;
  readonly onProgress?: (tally: Tally) => void;
}): Promise<{ readonly tally: Tally; readonly violations: readonly Violation[] }> {
  const { from, count, threads = availableParallelism(), onViolation = () => {}, onProgress = () => {} } = options;
  const tally = { seeds: 0, writes: 0, answered: 0, deaths: 0, losses: 0, events: 0, simulatedMs: 0 };
  const violations: Violation[] = [];
  let next = from;
  const take = (answer: Answer): void => {
    tally.seeds += 1;
    if ("message" in answer) {
      violations.push(answer);
      onViolation(answer);
      return;
    }
    const { report } = answer;
    for (const name of ["writes", "answered", "deaths", "losses", "events", "simulatedMs"] as const)
      tally[name] += report[name];
    onProgress(tally);
  };
  const work = async (): Promise<void> => {
    const worker = new Worker(new URL(import.meta.url));
    const ended = once(worker, "exit");
    const feed = (): void => worker.postMessage(next < from + count ? next++ : undefined);
    worker.on("message", (answer: Answer) => {
      take(answer);
      feed();
    });
    feed();
    await ended;
  };
  await Promise.all(Array.from({ length: Math.min(threads, count) }, work));
  return { tally, violations };
}

/** Why a run with these steps fails; undefined when it does not. */
export async function failureOf(seed: number, steps?: readonly Step[]): Promise<string | undefined> {
  try {
    await simulate(seed, steps);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The fewest steps of a failing seed that still fail: ever smaller pieces are left out for as long as that helps. */
export async function shrink(seed: number): Promise<{ readonly steps: readonly Step[]; readonly message: string }> {
  let steps: readonly Step[] = stepsOf(seed);
  let message = (await failureOf(seed, steps)) ?? "";
  for (let size = steps.length >> 1; size >= 1; ) {
    let shorter = false;
    for (let at = 0; at < steps.length; ) {
      const tried = steps.toSpliced(at, size);
      const failure = await failureOf(seed, tried);
      if (failure === undefined) {
        at += size;
        continue;
      }
      steps = tried;
      message = failure;
      shorter = true;
    }
    if (!shorter || size > 1) size >>= 1;
  }
  return { steps, message };
}

if (!isMainThread && parentPort !== null) {
  const port = parentPort;
  // A simulation makes thousands of errors that nobody reads.
  Error.stackTraceLimit = 0;
  const answer = async (seed: number): Promise<Answer> => {
    const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));
    return simulate(seed).then(
      (report) => ({ seed, report }),
      (error: unknown) => ({ seed, message: message(error) }),
    );
  };
  port.on("message", (seed: number | undefined) => {
    if (seed === undefined) port.close();
    else void answer(seed).then((answered) => port.postMessage(answered));
  });
}
