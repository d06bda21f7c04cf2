import { execFileSync } from "node:child_process";
import { benchIdle } from "./idle.ts";
import { benchPullPath } from "./pull-path.ts";
import { benchRecordLag, type LagRow } from "./record-lag.ts";

/** `npx pnpm bench [pull] [lag] [idle]`: the tables of benchmarks/README.md, measured now. */
const chosen = process.argv.slice(2);
const wants = (name: string): boolean => chosen.length === 0 || chosen.includes(name);
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const unknown = chosen.filter((name) => !["pull", "lag", "idle"].includes(name));
if (unknown.length > 0) {
  say(`no benchmark "${unknown.join(" ")}"; there are pull, lag and idle`);
  process.exit(2);
}

if (wants("pull")) {
  const missing = ["wrk", "nginx", "curl"].filter((program) => !isOnPath(program));
  if (missing.length > 0) say(`the pull path is left out: it needs ${missing.join(", ")} on PATH`);
  else {
    const rows = await benchPullPath(say);
    print(
      ["work", "Meridian", "nginx", "ratio"],
      rows.map((row) => [
        row.work,
        `${show(row.meridian)} ${row.unit}`,
        `${show(row.nginx)} ${row.unit}`,
        (row.meridian / row.nginx).toFixed(2),
      ]),
    );
  }
}
if (wants("lag")) {
  const rows: LagRow[] = [await benchRecordLag("embedded", say)];
  if (isOnPath("nats-server")) rows.push(await benchRecordLag("nats", say));
  else say("record lag on NATS is left out: it needs nats-server on PATH");
  print(
    ["log driver", "pushes", "p50 ms", "p99 ms", "max ms"],
    rows.map((row) => [row.driver, String(row.pushes), row.p50.toFixed(1), row.p99.toFixed(1), row.max.toFixed(1)]),
  );
}
if (wants("idle")) {
  if (process.platform !== "linux") say("the idle processes are left out: they need Linux's /proc");
  else {
    const rows = await benchIdle("embedded", say);
    if (isOnPath("nats-server")) rows.push(...(await benchIdle("nats", say)));
    else say("idle processes on NATS are left out: they need nats-server on PATH");
    print(
      ["idle process", "CPU %", "wake-ups/s", "RssAnon MB"],
      rows.map((row) => [row.process, row.cpu.toFixed(2), row.wakes.toFixed(0), row.memory.toFixed(0)]),
    );
  }
}

function show(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(1)} k` : value.toFixed(2);
}

function print(heading: readonly string[], rows: ReadonlyArray<readonly string[]>): void {
  const lines = [heading, heading.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  process.stdout.write(`\n${lines.join("\n")}\n`);
}

function isOnPath(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v "$0"`, program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
