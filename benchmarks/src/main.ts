import { parseArgs } from "node:util";
import { benchCollection } from "./collection.ts";
import { benchDiff } from "./diff.ts";
import { benchIdle } from "./idle.ts";
import { isOnPath } from "./peers/program.ts";
import { benchRecordLag, type LagRow } from "./record-lag.ts";
import { benchRegistries } from "./registries.ts";
import { benchScale } from "./scale.ts";
import { scaleTables } from "./scale-table.ts";
import { registryTables, table } from "./table.ts";

/**
 * `npx pnpm bench [pull] [push] [lag] [idle] [collection] [diff] [scale] [--only TEXT]… [--tags N]`: the tables of
 * benchmarks/README.md, measured now. Of pulls and pushes only the rows whose names hold one of the texts.
 */
const PARTS = ["pull", "push", "lag", "idle", "collection", "diff", "scale"];
const { positionals: chosen, values } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string", multiple: true }, tags: { type: "string", default: "100000" } },
});
const { only } = values;
const wants = (name: string): boolean => chosen.length === 0 || chosen.includes(name);
const wantsRow = (work: string): boolean => only === undefined || only.some((text) => work.includes(text));
const say = (line: string): void => void process.stderr.write(`${line}\n`);

const unknown = chosen.filter((name) => !PARTS.includes(name));
if (unknown.length > 0) {
  say(`no benchmark "${unknown.join(" ")}"; there are ${PARTS.join(", ")}`);
  process.exit(2);
}

const pull = wants("pull") && isOnPath("wrk");
if (wants("pull") && !pull) say("the pulls are left out: they need wrk on PATH");
const push = wants("push");
if (pull || push) {
  for (const one of registryTables(await benchRegistries({ pull, push, wantsRow }, say))) print(one);
}
if (wants("lag")) {
  const rows: LagRow[] = [await benchRecordLag("embedded", say)];
  if (isOnPath("nats-server")) rows.push(await benchRecordLag("nats", say));
  else say("record lag on NATS is left out: it needs nats-server on PATH");
  print(
    table(
      ["log driver", "pushes", "p50 ms", "p99 ms", "max ms"],
      rows.map((row) => [row.driver, String(row.pushes), row.p50.toFixed(1), row.p99.toFixed(1), row.max.toFixed(1)]),
    ),
  );
}
if (wants("idle")) {
  if (process.platform !== "linux") say("the idle processes are left out: they need Linux's /proc");
  else {
    const rows = await benchIdle("embedded", say);
    if (isOnPath("nats-server")) rows.push(...(await benchIdle("nats", say)));
    else say("idle processes on NATS are left out: they need nats-server on PATH");
    print(
      table(
        ["idle process", "CPU %", "wake-ups/s", "RssAnon MB"],
        rows.map((row) => [row.process, row.cpu.toFixed(2), row.wakes.toFixed(0), row.memory.toFixed(0)]),
      ),
    );
  }
}
if (wants("collection")) {
  const { blobs, perMinute, calmP99, busyP99 } = await benchCollection(say);
  const ratio = (busyP99 / calmP99).toFixed(2);
  print(
    table(
      ["collection", "blobs a minute (≥ 100 k)", "pulls' p99 without, ms", "pulls' p99 meanwhile, ms", "ratio (≤ 1.5)"],
      [[`${blobs} blobs`, `${(perMinute / 1_000).toFixed(0)} k`, calmP99.toFixed(1), busyP99.toFixed(1), ratio]],
    ),
  );
}
if (wants("scale")) {
  for (const one of scaleTables(await benchScale(Number(values.tags), say))) print(one);
}

if (wants("diff")) {
  const rows = await benchDiff(say);
  print(
    table(
      ["records that differ", "of", "found", "s", "messages", "repaired", "s, found and repaired", "messages"],
      rows.map((row) => [
        ...[row.differences, row.registers, row.found, row.seconds.toFixed(2), row.messages].map(String),
        ...[row.repaired, row.repairSeconds.toFixed(2), row.repairMessages].map(String),
      ]),
    ),
  );
}

function print(text: string): void {
  process.stdout.write(`\n${text}\n`);
}
