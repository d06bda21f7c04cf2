import { type Clock, createSystemClock } from "./clock.ts";
import { redactText } from "./redact.ts";
import type { Timers } from "./timers.ts";

/** One thing that must work for a process to be ready. */
export interface HealthCheck {
  /** Short, stable, kebab-case: shown by /readyz, e.g. "log", "storage". */
  readonly name: string;
  /** Resolves when it works; rejects with a message for the operator. Must answer within the signal's deadline. */
  check(signal: AbortSignal): Promise<void>;
}

/** The outcome of all checks of a process at one time. */
export interface HealthReport {
  readonly ready: boolean;
  readonly checks: ReadonlyArray<{ readonly name: string; readonly ok: boolean; readonly message?: string }>;
}

/** Runs a process's checks on demand. */
export interface Health {
  /** Never rejects. Callers within `cacheMs` of each other, and at the same time, share one run. */
  report(): Promise<HealthReport>;
}

/** What {@link createHealth} needs. */
export interface HealthOptions {
  /** Asked at every run, so that checks may come and go. */
  readonly checks: () => readonly HealthCheck[];
  readonly timers: Timers;
  /** After this many milliseconds a check counts as failed. */
  readonly timeoutMs: number;
  /** How long a report is given again, in milliseconds, counted from its end. */
  readonly cacheMs: number;
  /** The same for a report that something failed: shorter, so that recovery shows at once. Absent: `cacheMs`. */
  readonly failedCacheMs?: number;
  readonly clock?: Clock;
}

/** Runs all checks beside each other, each with its own deadline. Ready means that all of them passed. */
export function createHealth(options: HealthOptions): Health {
  const clock = options.clock ?? createSystemClock();
  let last: { readonly report: HealthReport; readonly at: number } | undefined;
  let running: Promise<HealthReport> | undefined;

  async function run(): Promise<HealthReport> {
    const checks = await Promise.all(options.checks().map((check) => runCheck(check, options)));
    const report = { ready: checks.every(({ ok }) => ok), checks };
    last = { report, at: clock.monotonic() };
    running = undefined;
    return report;
  }

  const keptFor = (report: HealthReport): number =>
    report.ready ? options.cacheMs : (options.failedCacheMs ?? options.cacheMs);
  return {
    report() {
      if (last !== undefined && clock.monotonic() - last.at < keptFor(last.report)) return Promise.resolve(last.report);
      running ??= run();
      return running;
    },
  };
}

async function runCheck(
  check: HealthCheck,
  { timers, timeoutMs }: HealthOptions,
): Promise<HealthReport["checks"][number]> {
  const controller = new AbortController();
  const late = new Promise<never>((_resolve, reject) => {
    controller.signal.addEventListener("abort", () => reject(controller.signal.reason));
  });
  using _deadline = timers.after(timeoutMs, () => controller.abort(new Error(`no answer within ${timeoutMs} ms`)));
  try {
    await Promise.race([check.check(controller.signal), late]);
    return { name: check.name, ok: true };
  } catch (error) {
    return { name: check.name, ok: false, message: redactText(error instanceof Error ? error.message : String(error)) };
  }
}
