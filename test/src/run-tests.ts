import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { relative, resolve } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

/**
 * Runs every suite of the workspace: first those that need no server and those that start their own, two files at a
 * time, then the multi-process ones of test/, one at a time. A few files that failed in such a run are run once more,
 * alone: what passes then counts as passed and is named as flaky, its first failure stays in the output. Arguments:
 * parts of file names to keep.
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

/** What the tests of one file came to; suites are not counted. */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

// More than so many are no accident of timing.
const FILES_TO_TRY_AGAIN = 3;

const leftOut = new Map<string, number>();
const outcomes = new Map<string, Counts>();
await runFiles(unit, 2);
await runFiles(across, 1);
const flaky = await tryAgain();

const seconds = ((performance.now() - started) / 1000).toFixed(0);
for (const [reason, count] of [...leftOut].sort()) process.stdout.write(`left out: ${count} × ${reason}\n`);
if (leftOut.size === 0) process.stdout.write("left out: nothing\n");
for (const file of flaky) process.stdout.write(`flaky: ${file} failed beside others and passed alone\n`);
process.stdout.write(`${unit.length + across.length} files in ${seconds} s\n`);
const total = (of: keyof Counts): number => [...outcomes.values()].reduce((sum, counts) => sum + counts[of], 0);
process.stdout.write(`${total("passed")} passed, ${total("failed")} failed, ${total("skipped")} skipped\n`);
process.exitCode = total("failed") === 0 ? 0 : 1;

/** Runs the files that failed once more, if they are few of many. Resolves with the names of those that passed then. */
async function tryAgain(): Promise<string[]> {
  const failed = [...outcomes].filter(([, { failed }]) => failed > 0).map(([file]) => file);
  if (failed.length > FILES_TO_TRY_AGAIN || outcomes.size === failed.length) return [];
  for (const file of failed) {
    process.stdout.write(`\n${relative(root, file)} failed: once more, alone\n`);
    outcomes.delete(file);
    await runFiles([file], 1);
  }
  return failed.filter((file) => outcomes.get(file)?.failed === 0).map((file) => relative(root, file));
}

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
  for (const file of files) outcomes.set(file, { passed: 0, failed: 0, skipped: 0 });
  // `file` is where a test is written, which for those of a contract suite is not the file that was run.
  const outcomeOf = ({ entryFile, file }: { entryFile?: string; file?: string | undefined }): Counts =>
    outcomes.get(entryFile ?? file ?? "") ?? assert.fail(`a result of ${file}, which was not asked for`);
  stream.on("test:pass", (event) => {
    if (event.details.type === "suite") return;
    const counts = outcomeOf(event);
    if (event.skip === undefined || event.skip === false) {
      counts.passed += 1;
      return;
    }
    counts.skipped += 1;
    const reason = typeof event.skip === "string" ? event.skip : `${relative(root, event.file ?? "")}: ${event.name}`;
    leftOut.set(reason, (leftOut.get(reason) ?? 0) + 1);
  });
  // Cancelled ones count as failed; a suite does where it failed by itself, as by a hook.
  stream.on("test:fail", (event) => {
    const bySubtests = (event.details.error as { failureType?: string }).failureType === "subtestsFailed";
    if (event.details.type !== "suite" || !bySubtests) outcomeOf(event).failed += 1;
  });
  for await (const chunk of stream.compose(spec)) process.stdout.write(chunk as string);
}
