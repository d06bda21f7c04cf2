import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { needs } from "../harness/programs.ts";
import { seeded } from "../harness/seeded.ts";
import { readHistory } from "./history.ts";
import { runRounds } from "./run-rounds.ts";

/** A few rounds; `pnpm faults` runs more. The history of a run that found something stays. */
async function aFewRounds(nats: boolean, say: (line: string) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "meridian-rounds-"));
  const historyPath = join(folder, "history.jsonl");
  const { seed } = seeded();
  const { violations, rounds, acknowledged } = await runRounds({
    rounds: 3,
    seed,
    nats,
    historyPath,
    roundMs: 3_000,
    say,
  });
  assert.deepEqual(violations, [], `seed ${seed}, history in ${historyPath}`);
  assert.equal(rounds, 3);
  assert.ok(acknowledged > 10, `only ${acknowledged} operations were acknowledged`);
  assert.equal(readHistory(historyPath).filter(({ kind }) => kind === "observation").length, 3);
  rmSync(folder, { recursive: true });
}

describe("rounds of random faults at three sites", () => {
  test("every site a process with its own log", (context) => aFewRounds(false, (line) => context.diagnostic(line)));

  test("every service a process of its own, on NATS", { skip: needs("nats-server") }, (context) =>
    aFewRounds(true, (line) => context.diagnostic(line)),
  );
});
