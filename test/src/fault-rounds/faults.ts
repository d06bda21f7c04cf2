import { execFileSync } from "node:child_process";
import { closeSync, cpSync, mkdirSync, openSync, renameSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { DevProcess } from "../harness/dev-process.ts";
import type { Seeded } from "../harness/seeded.ts";
import { command, SITES } from "../harness/site-control.ts";
import { until } from "../harness/until.ts";

/** Something broken on purpose: what, and how it is put right. */
export interface InjectedFault {
  readonly what: string;
  heal(): Promise<void>;
}

/** How far a clock is set wrong at most, in milliseconds. */
export const MAX_SKEW_MS = 4_000;

const PAIRS = ["eu-us", "eu-ap", "us-ap"] as const;
const FILL = "filled-by-a-test";
const FILL_CHUNK = 1024 * 1024;

/** Breaks one thing of a running cluster, by chance. `disk` is the site whose disk can be filled. */
export async function injectFault(
  cluster: DevProcess,
  random: Seeded,
  disk: SmallDisk | undefined,
): Promise<InjectedFault> {
  const dice = random.integer(0, 100);
  if (dice < 20) return await killProcess(cluster, random);
  if (dice < 35) return await killSite(cluster, random);
  if (dice < 60) return await cutLink(cluster, random);
  if (dice < 75) return await delayLink(cluster, random);
  if (dice < 90 || disk === undefined) return await skewClock(cluster, random);
  return disk.fill(cluster);
}

/** Of any service, nats-server too; the supervisor starts it again. */
async function killProcess(cluster: DevProcess, random: Seeded): Promise<InjectedFault> {
  const processes = cluster.run.sites.flatMap((site) => site.processes.map(({ name }) => `${site.name}/${name}`));
  const process = random.pick(processes);
  await command(cluster, { command: "process-kill", process, hold: false });
  return { what: `kill -9 ${process}`, heal: async () => {} };
}

async function killSite(cluster: DevProcess, random: Seeded): Promise<InjectedFault> {
  const site = random.pick(SITES);
  await command(cluster, { command: "site-kill", site });
  return { what: `kill -9 all of ${site}`, heal: () => command(cluster, { command: "site-start", site }) };
}

async function cutLink(cluster: DevProcess, random: Seeded): Promise<InjectedFault> {
  const pair = random.pick(PAIRS);
  const [oneWay, reset] = [random.integer(0, 2) === 0, random.integer(0, 3) === 0];
  const turned = oneWay && random.integer(0, 2) === 0 ? pair.split("-").reverse().join("-") : pair;
  await command(cluster, { command: "link-cut", pair: turned, oneWay, reset });
  const what = `cut ${turned}${oneWay ? " one way" : ""}${reset ? ", connections closed" : ""}`;
  return { what, heal: () => command(cluster, { command: "link-heal", pair: turned, oneWay: false }) };
}

async function delayLink(cluster: DevProcess, random: Seeded): Promise<InjectedFault> {
  const pair = random.pick(PAIRS);
  const rttMs = random.integer(20, 400);
  await command(cluster, { command: "link-delay", pair, rttMs });
  return {
    what: `delay ${pair} by ${rttMs} ms`,
    heal: () => command(cluster, { command: "link-delay", pair, rttMs: 0 }),
  };
}

async function skewClock(cluster: DevProcess, random: Seeded): Promise<InjectedFault> {
  const running = cluster.run.sites.filter(({ state }) => state === "running").map(({ name }) => name);
  const site = random.pick(running.length === 0 ? SITES : running);
  const offsetMs = random.integer(-MAX_SKEW_MS, MAX_SKEW_MS + 1);
  await setClock(cluster, site, offsetMs);
  return { what: `clock of ${site} ${offsetMs} ms off`, heal: () => setClock(cluster, site, 0) };
}

/** A process that was killed a moment ago cannot be told before it is back. */
async function setClock(cluster: DevProcess, site: string, offsetMs: number): Promise<void> {
  await until(`the clock of ${site} is set`, async () => {
    await command(cluster, { command: "clock-skew", site, offsetMs });
    return true;
  });
}

/** The folder of one site on a disk of its own, small enough to be filled. */
export class SmallDisk implements Disposable {
  readonly #folder: string;
  readonly #site: string;

  private constructor(folder: string, site: string) {
    this.#folder = folder;
    this.#site = site;
  }

  /** Moves the site's folder there; the cluster must be stopped. Undefined where nothing may be mounted. */
  static mount(cluster: DevProcess, site: string, mebibytes: number): SmallDisk | undefined {
    const folder = join(cluster.home, "sites", site);
    renameSync(folder, `${folder}.before`);
    mkdirSync(folder);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", folder], { stdio: "ignore" });
    } catch {
      rmSync(folder, { recursive: true });
      renameSync(`${folder}.before`, folder);
      return undefined;
    }
    cpSync(`${folder}.before`, folder, { recursive: true });
    rmSync(`${folder}.before`, { recursive: true });
    return new SmallDisk(folder, site);
  }

  /** Leaves nothing free, by a file that has nothing to do with Meridian. */
  fill(cluster: DevProcess): InjectedFault {
    const file = openSync(join(this.#folder, FILL), "a");
    try {
      while (statfsSync(this.#folder).bavail > 0)
        writeSync(file, Buffer.alloc(Math.min(FILL_CHUNK, this.#freeBytes())));
    } catch {
      // Somebody else took the rest.
    } finally {
      closeSync(file);
    }
    const heal = async (): Promise<void> => {
      rmSync(join(this.#folder, FILL), { force: true });
      // As its operator must: until then it leaves writes of streams that met the full disk unanswered.
      const processes = cluster.run.sites.find(({ name }) => name === this.#site)?.processes ?? [];
      const servers = processes.filter(({ service }) => service === "nats-server");
      for (const { name } of servers) {
        await command(cluster, { command: "process-kill", process: `${this.#site}/${name}`, hold: false });
      }
    };
    return { what: `disk of ${this.#site} full`, heal };
  }

  [Symbol.dispose](): void {
    // Also while something still uses it: the folder under it can be removed at once.
    execFileSync("umount", ["--lazy", this.#folder]);
  }

  #freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#folder);
    return bavail * bsize;
  }
}
