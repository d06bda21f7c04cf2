import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Change, openCatalog } from "@meridian/catalog";
import { openEmbeddedLogs } from "@meridian/eventlog";
import { createMemoryStore, openLmdbStore } from "@meridian/keyvalue";
import { parseDigest } from "@meridian/oci";
import { createLogger, createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import { DevProcess } from "@meridian/test/harness";
import { logIn, manifestOf, type PlainClient } from "./plain-client.ts";

const REPOSITORIES = 10;
const TAGS = 100_000;
const SEEDED_AT_ONCE = 500;
const DIFFERENCES = [0, 1, 10, 100, 1_000];
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** What comparing two sites costs that differ in so many records. */
export interface DiffRow {
  readonly registers: number;
  readonly differences: number;
  readonly found: number;
  readonly repaired: number;
  /** To find them, and to find and repair them: seconds, and messages between the sites. */
  readonly seconds: number;
  readonly messages: number;
  readonly repairSeconds: number;
  readonly repairMessages: number;
}

interface Comparison {
  readonly finishedAt: string | null;
  readonly startedAt: string;
  readonly registers: number;
  readonly messages: number;
  readonly found: number;
  readonly repaired: number;
  readonly failure: string;
}

/** Two sites with as many tags; then records are taken out of us's view behind its back. */
export async function benchDiff(say: (line: string) => void): Promise<DiffRow[]> {
  const arguments_ = ["--sites", "2", "--http", "--log-level", "warn"];
  await using cluster = await DevProcess.start(...arguments_);
  const repositories = Array.from({ length: REPOSITORIES }, (_, index) => `bench/diff${index}`);
  const digests = await pushImage(cluster, repositories);
  await cluster.stop();
  say(`diff: writing ${TAGS} tags`);
  await seed(join(cluster.home, "sites/eu/site"), digests);
  await cluster.start();
  const rows: DiffRow[] = [];
  for (const differences of DIFFERENCES) {
    if (differences > 0) {
      await cluster.stop();
      await removeTags(join(cluster.home, "sites/us/site/view"), differences);
      await cluster.start();
    }
    const client = await logIn(cluster.gateway("eu"), cluster.adminPassword, repositories);
    // The first one waits until the sites have caught up after their start.
    await compare(client, false);
    const plain = await compare(client, false);
    const repair = await compare(client, true);
    say(`diff: ${differences} differences in ${plain.seconds.toFixed(2)} s and ${plain.messages} messages`);
    rows.push({
      ...{ differences, registers: plain.registers, found: plain.found, repaired: repair.repaired },
      ...{ seconds: plain.seconds, messages: plain.messages },
      ...{ repairSeconds: repair.seconds, repairMessages: repair.messages },
    });
  }
  return rows;
}

async function pushImage(cluster: DevProcess, repositories: readonly string[]): Promise<Map<string, string>> {
  const client = await logIn(cluster.gateway("eu"), cluster.adminPassword, repositories);
  const config = Buffer.from("{}");
  const digests = new Map<string, string>();
  for (const repository of repositories) {
    const digest = await client.pushBlob(repository, config);
    const answer = await client.pushManifest(repository, "v", manifestOf({ digest, size: config.length }, [], "v"));
    digests.set(repository, answer.get("docker-content-digest") ?? "");
  }
  return digests;
}

/** What as many pushes of tags would have left. The site is stopped. */
async function seed(folder: string, digests: ReadonlyMap<string, string>): Promise<void> {
  const common = {
    site: "eu",
    clock: createSystemClock(),
    timers: systemTimers,
    random: systemRandom,
    log: createLogger({ level: "warn" }),
  };
  await using logs = await openEmbeddedLogs({ ...common, path: join(folder, "log"), writer: "eu/site" });
  await using outbox = await openLmdbStore({ path: join(folder, "outbox") });
  const stores = { logs, outbox, view: createMemoryStore() };
  await using catalog = await openCatalog({ ...common, ...stores, writer: "site", serving: true, alone: true });
  for (let start = 0; start < TAGS; start += SEEDED_AT_ONCE) {
    const changes = Array.from({ length: SEEDED_AT_ONCE }, (_, offset): Change => {
      const index = start + offset;
      const [repository, digest] = [...digests][index % digests.size]!;
      const tag = `t${index}`;
      return {
        kind: "tag",
        repository,
        tag,
        digest: parseDigest(digest),
        mediaType: MANIFEST,
        size: 300,
        who: "bench",
      };
    });
    await catalog.commit(changes);
  }
}

/** Takes tags out of a view that is not open, evenly from all of them. */
async function removeTags(path: string, count: number): Promise<void> {
  await using view = await openLmdbStore({ path, volatile: true });
  await view.transaction((tx) => {
    const keys = [...tx.range({ start: "rt ", end: "rt!" })].map(([key]) => key);
    for (let index = 0; index < count; index++) {
      const key = keys[Math.floor(((index + 0.5) * keys.length) / count)]!;
      tx.delete(key);
      tx.delete(`t${key.slice(2)}`);
    }
  });
}

/** Compares again while a site is still catching up. */
async function compare(client: PlainClient, repair: boolean): Promise<Comparison & { readonly seconds: number }> {
  const path = "/v2/_meridian/diff?site=eu&with=us";
  for (;;) {
    await client.call(path, { method: "POST", body: JSON.stringify({ repair }) }, [200]);
    const comparison = await finished(client, path);
    const seconds = (Date.parse(comparison.finishedAt!) - Date.parse(comparison.startedAt)) / 1_000;
    if (comparison.failure === "") return { ...comparison, seconds };
    await sleep(1_000);
  }
}

async function finished(client: PlainClient, path: string): Promise<Comparison> {
  for (;;) {
    await sleep(50);
    const { comparison } = (await (await client.call(path, {}, [200])).json()) as { comparison: Comparison };
    if (comparison.finishedAt !== null) return comparison;
  }
}
