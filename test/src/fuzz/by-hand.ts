import { inspect, parseArgs } from "node:util";
import { allTargets, BATCH_SIZE, type FuzzFinding, runBatch, shrink } from "./run-targets.ts";

/**
 * `pnpm fuzz [--inputs 10000000] [--seed N] [--only NAME]`: tries the parsers with random inputs, the targets in turn,
 * and prints what they did not stand. Ends with 1 when there was any. The same seed gives the same inputs.
 */
const { values } = parseArgs({
  options: {
    inputs: { type: "string" },
    seed: { type: "string" },
    only: { type: "string" },
    help: { type: "boolean" },
  },
});
if (values.help) {
  process.stdout.write("pnpm fuzz [--inputs 1000000] [--seed N] [--only <part of a target's name>]\n");
  process.exit(0);
}
const wanted = Number(values.inputs ?? 1_000_000);
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const targets = (await allTargets()).filter(({ name }) => name.includes(values.only ?? ""));
if (!Number.isSafeInteger(wanted) || wanted < 1 || !Number.isSafeInteger(firstSeed) || targets.length === 0) {
  process.stderr.write("--inputs and --seed are whole numbers, --only is a part of a target's name\n");
  process.exit(2);
}

process.stdout.write(`seed ${firstSeed}, ${targets.length} targets\n`);
const started = performance.now();
const findings = new Map<string, FuzzFinding>();
const tried = new Map<string, number>();
let total = 0;
for (let batch = 0, told = 0; total < wanted; batch++) {
  const target = targets[batch % targets.length];
  // A target that failed has said enough.
  if (target === undefined || findings.has(target.name)) {
    if (findings.size === targets.length) break;
    continue;
  }
  const finding = runBatch(target, firstSeed + batch);
  total += BATCH_SIZE;
  tried.set(target.name, (tried.get(target.name) ?? 0) + BATCH_SIZE);
  if (finding !== undefined) {
    findings.set(target.name, finding);
    process.stdout.write(
      `FOUND ${target.name}, seed ${finding.seed}: ${inspect(shrink(target, finding))}\n${inspect(finding.error)}\n`,
    );
  }
  if (total - told >= 500_000) {
    told = total;
    process.stdout.write(`${total} inputs, ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  }
}
for (const [name, count] of tried) process.stdout.write(`${String(count).padStart(10)} ${name}\n`);
process.stdout.write(`${total} inputs, ${findings.size} targets failed\n`);
process.exitCode = findings.size === 0 ? 0 : 1;
