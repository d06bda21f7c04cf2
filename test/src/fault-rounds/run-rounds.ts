import { setTimeout as sleep } from "node:timers/promises";
import { DevProcess } from "../harness/dev-process.ts";
import { seeded } from "../harness/seeded.ts";
import { SITES } from "../harness/site-control.ts";
import { checkHistory, type Violation } from "./check-history.ts";
import { type InjectedFault, injectFault, MAX_SKEW_MS, SmallDisk } from "./faults.ts";
import { HistoryFile, type Operation } from "./history.ts";
import { observe } from "./observe.ts";
import { Workload } from "./workload.ts";

/** What {@link runRounds} does. */
export interface RoundsOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly nats: boolean;
  /** Where the history is kept. */
  readonly historyPath: string;
  /** How long each round breaks things, in milliseconds. */
  readonly roundMs: number;
  readonly say: (line: string) => void;
  /** Ends the run after a round that began before. */
  readonly isOver?: () => boolean;
}

/** What was done, and what was found. */
export interface RoundsResult {
  readonly rounds: number;
  readonly operations: number;
  readonly acknowledged: number;
  readonly faults: number;
  readonly violations: readonly Violation[];
}

const CLIENTS = 4;
const DISK_SITE = "ap";
const DISK_MEBIBYTES = 700;
/** Images of so many rounds before are pulled again after each round. */
const LOOKED_AFTER = 3;

/**
 * Three sites of real processes: in each round clients write and read at random while things are broken; then all is put
 * right, and what the sites show is noted. The history is checked after each round, by {@link checkHistory} alone.
 */
export async function runRounds(options: RoundsOptions): Promise<RoundsResult> {
  const { nats, say, seed } = options;
  const history = new HistoryFile(options.historyPath);
  const driver = nats ? "nats" : "embedded";
  history.add({ kind: "beginning", seed, driver, sites: SITES, maxSkewMs: MAX_SKEW_MS });
  say(`seed ${seed}, ${driver}; history in ${options.historyPath}`);
  await using cleanUp = new AsyncDisposableStack();
  const cluster = cleanUp.use(await DevProcess.start("--links", ...(nats ? ["--nats"] : [])));
  await cluster.stop();
  const disk = SmallDisk.mount(cluster, DISK_SITE, DISK_MEBIBYTES);
  if (disk === undefined) say("nothing may be mounted here: no disk is filled");
  else cleanUp.use(disk);
  cleanUp.defer(() => cluster.stop());
  await cluster.start();
  const random = seeded(seed);
  const now = (): number => Math.round(performance.timeOrigin + performance.now());
  const at = (site: string) => cluster.at(site);
  const workload = new Workload({ random, at, sites: SITES, now, record: (operation) => history.add(operation) });
  let rounds = 0;
  let violations: readonly Violation[] = [];
  for (let round = 1; round <= options.rounds && options.isOver?.() !== true; round++) {
    const faults = await breakThings(round, { cluster, disk, history, now, options, random, workload });
    const operations = history.entries.filter((entry): entry is Operation => entry.kind === "operation");
    const looked = operations.filter((one) => one.round > round - LOOKED_AFTER);
    history.add(await observe(cluster, { round, repositories: workload.repositories, operations: looked }));
    rounds = round;
    violations = checkHistory(history.entries);
    say(`round ${round}: ${looked.filter((one) => one.round === round).length} operations; ${faults.join(", ")}`);
    if (violations.length > 0) break;
  }
  for (const { round, rule, words } of violations) say(`FOUND in round ${round}, ${rule}: ${words}`);
  const done = history.entries.filter((entry): entry is Operation => entry.kind === "operation");
  const acknowledged = done.filter(({ outcome }) => outcome === "acknowledged").length;
  const faults = history.entries.filter((entry) => entry.kind === "fault").length;
  return { rounds, operations: done.length, acknowledged, faults, violations };
}

interface RoundParts {
  readonly cluster: DevProcess;
  readonly disk: SmallDisk | undefined;
  readonly history: HistoryFile;
  readonly now: () => number;
  readonly options: RoundsOptions;
  readonly random: ReturnType<typeof seeded>;
  readonly workload: Workload;
}

/** Clients and faults side by side; resolves with what was broken, once all is put right. */
async function breakThings(round: number, parts: RoundParts): Promise<string[]> {
  const { cluster, disk, history, now, options, random, workload } = parts;
  const ends = performance.now() + options.roundMs;
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (performance.now() < ends) await workload.step(round);
  });
  const injected: InjectedFault[] = [];
  const count = random.integer(1, 4);
  for (let index = 0; index < count; index++) {
    await sleep(options.roundMs / (count + 1));
    const fault = await injectFault(cluster, random, disk);
    history.add({ kind: "fault", round, at: now(), what: fault.what });
    injected.push(fault);
  }
  await Promise.all(clients);
  for (const fault of injected) await fault.heal();
  return injected.map(({ what }) => what);
}
