import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { faultSocketPath, sendCommand } from "@meridian/dev";
import type { PersistStep } from "@meridian/runtime";
import { PHASES, Promises, type Told, WrongBytes } from "./harness/crash-phases.ts";
import { STEPS } from "./harness/crash-steps.ts";
import { DevProcess } from "./harness/dev-process.ts";
import { MANIFEST_TYPE, type OciClient } from "./harness/oci-client.ts";
import { type Seeded, seeded } from "./harness/seeded.ts";
import { command, ready, SITES, type SiteName } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

/**
 * Rounds of kill -9: at each step by which a write becomes durable, exactly there, and at random moments of each request.
 * By hand, the more the better:
 * `MERIDIAN_FAULT_ROUNDS=200 node --conditions=meridian-source --test test/src/faults-crash.test.ts`;
 * MERIDIAN_SEED repeats a run's choices.
 */
const ALL = { ...STEPS, ...PHASES };
const ROUNDS = Number(process.env.MERIDIAN_FAULT_ROUNDS ?? Object.keys(ALL).length);
const PATIENCE_MS = 30_000;

describe(`kill -9 in every phase of a write, ${ROUNDS} rounds`, { timeout: 60_000 + ROUNDS * 30_000 }, () => {
  const random = seeded();
  const promises = new Promises();
  const found = { checked: 0, lost: [] as string[], wrong: [] as string[], half: [] as string[] };
  const rounds = new Map<string, number>();
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start();
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("every round ends with the site back, without repair", async (context) => {
    context.diagnostic(`MERIDIAN_SEED=${random.seed}`);
    const names = Object.keys(ALL);
    let round = 0;
    // Every site has rounds of its own, beside those of the others; each phase comes equally often.
    const lane = async (site: SiteName): Promise<void> => {
      const choices = seeded(random.integer(0, 2 ** 31));
      while (round < ROUNDS) {
        const name = names[round++ % names.length] ?? "";
        await runRound(name, site, choices).catch((error: unknown) => {
          round = ROUNDS;
          throw error;
        });
        rounds.set(name, (rounds.get(name) ?? 0) + 1);
        if (ROUNDS >= 50 && round % 10 === 0) process.stderr.write(`${round} of ${ROUNDS} rounds begun\n`);
      }
    };
    const ended = await Promise.allSettled(SITES.map(lane));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
    context.diagnostic(`${promises.interrupted} requests were hit`);
    assert.ok(promises.interrupted > 0, "no request was hit");
  });

  test("what was acknowledged is whole at every site; what was not is whole or absent; what was deleted is gone", async (context) => {
    await ready(cluster);
    await Promise.all(SITES.map((site) => checkSite(site)));
    for (const [phase, count] of rounds) {
      const [lost, wrong, half] = [found.lost, found.wrong, found.half].map(
        (list) => list.filter((one) => one.startsWith(`${phase}: `)).length,
      );
      const told = `${promises.acknowledged(phase)} writes acknowledged`;
      context.diagnostic(`${phase}: ${count} rounds, ${told}, ${lost} lost, ${wrong} wrong, ${half} half visible`);
    }
    context.diagnostic(`${found.checked} acknowledged writes checked at ${SITES.length} sites each`);
    context.diagnostic(
      `lost: ${found.lost.length}, wrong bytes served: ${found.wrong.length}, half-visible: ${found.half.length}`,
    );
    assert.deepEqual(found, { checked: found.checked, lost: [], wrong: [], half: [] }, `MERIDIAN_SEED=${random.seed}`);
    assert.equal(found.checked, promises.blobs.size + promises.images.size + promises.deleted.size);
  });

  async function runRound(name: string, site: SiteName, choices: Seeded): Promise<void> {
    const phase = ALL[name] ?? assert.fail(name);
    const pids = cluster.run.sites.find((one) => one.name === site)?.processes.map(({ pid }) => pid) ?? [];
    let killed = false;
    const kill = (): void => {
      if (killed) return;
      killed = true;
      for (const pid of pids.filter(isRunning)) process.kill(pid, "SIGKILL");
    };
    const restart = async (): Promise<void> => {
      // Held down and started by hand, so that the supervisor's back-off does not grow from round to round.
      await command(cluster, { command: "site-kill", site });
      await command(cluster, { command: "site-start", site });
      await ready(cluster, [site], PATIENCE_MS * 4);
    };
    const dieAt = async (crashAt: PersistStep, skip: number): Promise<void> => {
      await sendCommand(faultSocketPath(cluster.home, { site, name: "site" }), { crashAt, skip });
    };
    const others = SITES.filter((one) => one !== site);
    for (let attempt = 1; !killed; attempt++) {
      const elsewhere = cluster.at(choices.pick(others));
      try {
        const parts = { phase: name, at: cluster.at(site), elsewhere, random: choices, promises };
        await phase({ ...parts, kill, restart, dieAt, isAlive: () => pids.every(isRunning) });
        kill();
      } catch (error) {
        if (error instanceof WrongBytes) found.wrong.push(`${name}: ${error.message}`);
        // What another site had to do first was not done, as that one was just killed in its own round.
        else if (killed || attempt === 10)
          throw new Error(`${name} at ${site}, MERIDIAN_SEED=${random.seed}`, { cause: error });
        else await ready(cluster, SITES, PATIENCE_MS * 4);
      }
    }
    await restart();
  }

  async function checkSite(site: SiteName): Promise<void> {
    const at = cluster.at(site);
    for (const [digest, { repository, size, phase }] of promises.blobs) {
      await check(`${phase}: blob ${digest} of ${repository} at ${site}`, () =>
        pullBlob(at, { repository, phase }, digest, size),
      );
      if (site === "eu") found.checked += 1;
    }
    for (const [digest, told] of promises.images) {
      const what = `${told.phase}: image ${digest} of ${told.repository} at ${site}`;
      await check(what, () => pullImage(at, told, digest));
      if (site === "eu") found.checked += 1;
    }
    for (const [digest, { repository, phase }] of promises.deleted) {
      const answer = await at.call(`/v2/${repository}/manifests/${digest}`);
      if (answer.status !== 404) found.half.push(`${phase}: ${digest} at ${site} after its delete: ${answer.status}`);
      if (site === "eu") found.checked += 1;
    }
    for (const [digest, told] of promises.open) {
      const answer = await at.call(`/v2/${told.repository}/manifests/${digest}`, { method: "HEAD" });
      if (answer.status === 404) continue;
      const whole = until("it is whole", () => pullImage(at, told, digest), PATIENCE_MS);
      await whole.catch((error: unknown) => found.half.push(`${told.phase}: ${digest} at ${site}: ${String(error)}`));
    }
  }

  async function check(what: string, pull: () => Promise<void>): Promise<void> {
    try {
      await until(what, pull, PATIENCE_MS);
    } catch (error) {
      const { cause } = error as Error;
      found.lost.push(`${what}: ${String(cause ?? error)}`);
    }
  }

  async function pullBlob(at: OciClient, told: Told, digest: string, size: number): Promise<void> {
    const { repository, phase } = told;
    const answer = await at.call(`/v2/${repository}/blobs/${digest}`, { discard: true });
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
    if (answer.digest !== digest || answer.bytes !== size) found.wrong.push(`${phase}: ${digest} of ${repository}`);
  }

  async function pullImage(at: OciClient, told: Told, digest: string): Promise<void> {
    const { repository, phase } = told;
    const answer = await at.call(`/v2/${repository}/manifests/${digest}`, { headers: { accept: MANIFEST_TYPE } });
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
    if (answer.digest !== digest) found.wrong.push(`${phase}: manifest ${digest} of ${repository}`);
    const { config, layers } = JSON.parse(answer.body.toString()) as Record<"config", Part> & Record<"layers", Part[]>;
    for (const part of [config, ...layers]) await pullBlob(at, told, part.digest, part.size);
  }
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

interface Part {
  readonly digest: string;
  readonly size: number;
}
