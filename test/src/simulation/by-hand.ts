import { inspect, parseArgs } from "node:util";
import { shrink, simulateMany } from "./seeds.ts";

/**
 * `pnpm simulate [--seeds 100000] [--from N] [--threads N]`: runs that many simulations of three sites and prints what
 * promise was broken, with the fewest steps that break it. Ends with 1 when there was any. A seed gives the same run
 * each time: what it finds becomes a test of its own (CONTRIBUTING.md).
 */
const { values } = parseArgs({
  options: { seeds: { type: "string" }, from: { type: "string" }, threads: { type: "string" } },
});
const count = Number(values.seeds ?? 10_000);
const from = Number(values.from ?? Math.floor(Math.random() * 2 ** 31));
if (![count, from].every((value) => Number.isSafeInteger(value) && value > 0)) {
  process.stderr.write("--seeds and --from are whole numbers\n");
  process.exit(2);
}
const started = performance.now();
const seconds = (): string => ((performance.now() - started) / 1_000).toFixed(0);
process.stdout.write(`seeds ${from} to ${from + count - 1}\n`);
const { tally, violations } = await simulateMany({
  from,
  count,
  ...(values.threads !== undefined && { threads: Number(values.threads) }),
  onViolation: ({ seed, message }) => process.stdout.write(`FOUND seed ${seed}: ${message}\n`),
  onProgress: ({ seeds }) => {
    if (seeds % 1_000 === 0) process.stdout.write(`${seeds} seeds, ${seconds()} s\n`);
  },
});
for (const { seed } of violations.slice(0, 3)) {
  const { steps, message } = await shrink(seed);
  process.stdout.write(`seed ${seed}: ${message}\n${inspect(steps, { depth: null, breakLength: 160 })}\n`);
}
const { seeds, writes, answered, deaths, losses, events, simulatedMs } = tally;
const hours = (simulatedMs / 3_600_000).toFixed(1);
process.stdout.write(
  `${seeds} seeds in ${seconds()} s: ${writes} writes, ${answered} answered, ${deaths} deaths, ${losses} losses, ${events} events, ` +
    `${hours} simulated hours; ${violations.length} violations\n`,
);
process.exitCode = violations.length === 0 ? 0 : 1;
