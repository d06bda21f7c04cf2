import { globSync } from "node:fs";
import { relative, resolve } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

/**
 * Runs every suite of the workspace: first those that need no server and those that start their own, two files at a
 * time, then the multi-process ones of test/, one at a time. Arguments: parts of file names to keep, and
 * `--only-names <pattern>`.
 */
const root = resolve(import.meta.dirname, "../..");
const filters = process.argv.slice(2).filter((argument) => !argument.startsWith("-"));
const started = performance.now();

const unit = find("packages/*/src/**/*.test.ts");
const across = find("test/src/**/*.test.ts");
if (unit.length + across.length === 0) {
  process.stderr.write(`no test file matches ${filters.join(" ")}\n`);
  process.exit(2);
}

const leftOut = new Map<string, number>();
const totals = { passed: 0, failed: 0, skipped: 0 };
await runFiles(unit, 2);
await runFiles(across, 1);

const seconds = ((performance.now() - started) / 1000).toFixed(0);
for (const [reason, count] of [...leftOut].sort()) process.stdout.write(`left out: ${count} × ${reason}\n`);
if (leftOut.size === 0) process.stdout.write("left out: nothing\n");
process.stdout.write(`${unit.length + across.length} files in ${seconds} s\n`);
process.stdout.write(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped\n`);
process.exitCode = totals.failed === 0 ? 0 : 1;

function find(pattern: string): string[] {
  return globSync(pattern, { cwd: root })
    .filter((file) => !file.includes("node_modules"))
    .filter((file) => filters.length === 0 || filters.some((part) => file.includes(part)))
    .sort()
    .map((file) => resolve(root, file));
}

async function runFiles(files: string[], concurrency: number): Promise<void> {
  if (files.length === 0) return;
  const stream = run({
    files,
    concurrency,
    isolation: "process",
    cwd: root,
    execArgv: ["--conditions=meridian-source", "--disable-warning=ExperimentalWarning"],
    timeout: 15 * 60_000,
  });
  stream.on("test:pass", (event) => {
    if (event.skip === undefined || event.skip === false) return;
    const reason = typeof event.skip === "string" ? event.skip : `${relative(root, event.file ?? "")}: ${event.name}`;
    leftOut.set(reason, (leftOut.get(reason) ?? 0) + 1);
  });
  stream.on("test:summary", (event) => {
    if (event.file !== undefined) return;
    totals.passed += event.counts.passed;
    // Cancelled ones count as failed.
    totals.failed += event.counts.tests - event.counts.passed - event.counts.skipped - event.counts.todo;
    totals.skipped += event.counts.skipped;
  });
  for await (const chunk of stream.compose(spec)) process.stdout.write(chunk as string);
}
