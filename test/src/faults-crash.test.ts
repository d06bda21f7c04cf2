import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { PHASES, Promises, WrongBytes } from "./harness/crash-phases.ts";
import { DevProcess } from "./harness/dev-process.ts";
import { MANIFEST_TYPE, type OciClient } from "./harness/oci-client.ts";
import { type Seeded, seeded } from "./harness/seeded.ts";
import { command, ready, SITES, type SiteName } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

/**
 * Rounds of kill -9 at a chosen phase of a write. By hand, the more the better:
 * `MERIDIAN_FAULT_ROUNDS=200 node --conditions=meridian-source --test test/src/faults-crash.test.ts`;
 * MERIDIAN_SEED repeats a run's choices.
 */
const ROUNDS = Number(process.env.MERIDIAN_FAULT_ROUNDS ?? 10);
const PATIENCE_MS = 30_000;

describe(`kill -9 in every phase of a write, ${ROUNDS} rounds`, { timeout: 60_000 + ROUNDS * 30_000 }, () => {
  const random = seeded();
  const promises = new Promises();
  const found = { checked: 0, lost: [] as string[], wrong: [] as string[], half: [] as string[] };
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start();
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("every round ends with the site back, without repair", async (context) => {
    context.diagnostic(`MERIDIAN_SEED=${random.seed}`);
    const counts = new Map<string, number>();
    const names = Object.keys(PHASES);
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
        counts.set(name, (counts.get(name) ?? 0) + 1);
        if (ROUNDS >= 50 && round % 10 === 0) process.stderr.write(`${round} of ${ROUNDS} rounds begun\n`);
      }
    };
    const ended = await Promise.allSettled(SITES.map(lane));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
    for (const [name, count] of counts) context.diagnostic(`${count} × ${name}`);
    context.diagnostic(`${promises.interrupted} requests were hit`);
    assert.ok(promises.interrupted > 0, "no request was hit");
  });

  test("what was acknowledged is whole at every site; what was not is whole or absent; what was deleted is gone", async (context) => {
    await ready(cluster);
    await Promise.all(SITES.map((site) => checkSite(site)));
    context.diagnostic(`${found.checked} acknowledged writes checked at ${SITES.length} sites each`);
    context.diagnostic(
      `lost: ${found.lost.length}, wrong bytes served: ${found.wrong.length}, half-visible: ${found.half.length}`,
    );
    assert.deepEqual(found, { checked: found.checked, lost: [], wrong: [], half: [] }, `MERIDIAN_SEED=${random.seed}`);
    assert.equal(found.checked, promises.blobs.size + promises.images.size + promises.deleted.size);
  });

  async function runRound(name: string, site: SiteName, choices: Seeded): Promise<void> {
    const phase = PHASES[name] ?? assert.fail(name);
    const pids = cluster.run.sites.find((one) => one.name === site)?.processes.map(({ pid }) => pid) ?? [];
    let killed = false;
    const kill = (): void => {
      if (killed) return;
      killed = true;
      for (const pid of pids) process.kill(pid, "SIGKILL");
    };
    const restart = async (): Promise<void> => {
      // Held down and started by hand, so that the supervisor's back-off does not grow from round to round.
      await command(cluster, { command: "site-kill", site });
      await command(cluster, { command: "site-start", site });
      await ready(cluster, [site], PATIENCE_MS * 4);
    };
    const others = SITES.filter((one) => one !== site);
    for (let attempt = 1; !killed; attempt++) {
      const elsewhere = cluster.at(choices.pick(others));
      try {
        await phase({ at: cluster.at(site), elsewhere, random: choices, promises, kill, restart });
        kill();
      } catch (error) {
        if (error instanceof WrongBytes) found.wrong.push(error.message);
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
    for (const [digest, { repository, size }] of promises.blobs) {
      await check(`blob ${digest} of ${repository} at ${site}`, () => pullBlob(at, repository, digest, size));
      if (site === "eu") found.checked += 1;
    }
    for (const [digest, { repository }] of promises.images) {
      await check(`image ${digest} of ${repository} at ${site}`, () => pullImage(at, repository, digest));
      if (site === "eu") found.checked += 1;
    }
    for (const [digest, repository] of promises.deleted) {
      const answer = await at.call(`/v2/${repository}/manifests/${digest}`);
      if (answer.status !== 404) found.half.push(`${digest} at ${site} after its delete: ${answer.status}`);
      if (site === "eu") found.checked += 1;
    }
    for (const [digest, repository] of promises.open) {
      const answer = await at.call(`/v2/${repository}/manifests/${digest}`, { method: "HEAD" });
      if (answer.status === 404) continue;
      const whole = until("it is whole", () => pullImage(at, repository, digest), PATIENCE_MS);
      await whole.catch((error: unknown) => found.half.push(`${digest} at ${site}: ${String(error)}`));
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

  async function pullBlob(at: OciClient, repository: string, digest: string, size: number): Promise<void> {
    const answer = await at.call(`/v2/${repository}/blobs/${digest}`, { discard: true });
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
    if (answer.digest !== digest || answer.bytes !== size) found.wrong.push(`${digest} of ${repository}`);
  }

  async function pullImage(at: OciClient, repository: string, digest: string): Promise<void> {
    const answer = await at.call(`/v2/${repository}/manifests/${digest}`, { headers: { accept: MANIFEST_TYPE } });
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
    if (answer.digest !== digest) found.wrong.push(`manifest ${digest} of ${repository}`);
    const { config, layers } = JSON.parse(answer.body.toString()) as Record<"config", Part> & Record<"layers", Part[]>;
    for (const part of [config, ...layers]) await pullBlob(at, repository, part.digest, part.size);
  }
});

interface Part {
  readonly digest: string;
  readonly size: number;
}
