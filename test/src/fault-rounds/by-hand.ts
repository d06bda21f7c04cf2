import { randomInt } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runRounds } from "./run-rounds.ts";

/**
 * `pnpm faults [--rounds 200] [--seed N] [--nats] [--minutes M] [--history FILE]`: rounds of pushes, deletes and pulls at
 * three sites of real processes while these are killed, cut off, delayed, on wrong clocks and full disks; ends with 1 and
 * says what promise was broken. The history stays in its file, an entry a line.
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "200" },
    seed: { type: "string" },
    nats: { type: "boolean", default: false },
    minutes: { type: "string" },
    history: { type: "string" },
  },
});
const rounds = Number(values.rounds);
const seed = Number(values.seed ?? randomInt(1, 2 ** 31));
const minutes = values.minutes === undefined ? Number.POSITIVE_INFINITY : Number(values.minutes);
if (!Number.isSafeInteger(rounds) || rounds < 1 || !Number.isSafeInteger(seed) || !(minutes > 0)) {
  process.stderr.write("--rounds and --seed are whole numbers, --minutes a number\n");
  process.exit(2);
}
const started = performance.now();
const seconds = (): number => Math.round((performance.now() - started) / 1_000);
const result = await runRounds({
  ...{ rounds, seed, nats: values.nats, roundMs: 4_000 },
  historyPath: values.history ?? join(tmpdir(), `meridian-faults-${seed}.jsonl`),
  say: (line) => process.stdout.write(`${seconds()} s: ${line}\n`),
  isOver: () => seconds() > minutes * 60,
});
process.stdout.write(
  `${result.rounds} rounds in ${seconds()} s: ${result.operations} operations, ${result.acknowledged} acknowledged, ` +
    `${result.faults} faults; ${result.violations.length} violations\n`,
);
process.exitCode = result.violations.length === 0 ? 0 : 1;
