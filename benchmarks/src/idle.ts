import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { DevProcess } from "@meridian/test/harness";

/** Not counted: what a process runs in its first minute is compiled, and its start collected. */
const SETTLE_SECONDS = 60;
const SECONDS = 60;

/** What one process costs while nobody asks anything of it. */
export interface IdleRow {
  /** `<site>/<process>`, with the log driver. */
  readonly process: string;
  /** Per cent of one core. */
  readonly cpu: number;
  /** Times a second that the main thread woke up: steadier than CPU time on a busy machine. */
  readonly wakes: number;
  /** Private memory (RssAnon), in MiB: mapped LMDB pages are not part of it. */
  readonly memory: number;
}

/** Starts three sites, leaves them alone and reads what their processes used. Needs Linux's /proc. */
export async function benchIdle(driver: "embedded" | "nats", say: (line: string) => void): Promise<IdleRow[]> {
  await using cluster = await DevProcess.start(...(driver === "nats" ? ["--nats"] : []));
  say(`idle, ${driver}: ${SETTLE_SECONDS} s to settle, ${SECONDS} s measured`);
  await sleep(SETTLE_SECONDS * 1000);
  const processes = cluster.run.sites.flatMap(({ name, processes: own }) =>
    own
      .filter(({ service }) => service !== "nats-server")
      .map((one) => ({ name: `${name}/${one.name}`, pid: one.pid })),
  );
  const before = processes.map(({ pid }) => usageOf(pid));
  const started = performance.now();
  await sleep(SECONDS * 1000);
  const seconds = (performance.now() - started) / 1000;
  return processes.map(({ name, pid }, index) => {
    const { cpuSeconds, wakes, memory } = usageOf(pid);
    const earlier = before[index]!;
    return {
      process: `${name}, ${driver}`,
      cpu: (100 * (cpuSeconds - earlier.cpuSeconds)) / seconds,
      wakes: (wakes - earlier.wakes) / seconds,
      memory,
    };
  });
}

/** See proc(5): stat's fields 14 and 15 are user and system time in clock ticks, of all threads. */
function usageOf(pid: number): { cpuSeconds: number; wakes: number; memory: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const main = readFileSync(`/proc/${pid}/task/${pid}/status`, "utf8");
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond(),
    wakes: numberIn(main, "voluntary_ctxt_switches"),
    memory: numberIn(status, "RssAnon") / 1024,
  };
}

function numberIn(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1]);
}

function ticksPerSecond(): number {
  return Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
}
