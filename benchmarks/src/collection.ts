import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Change, openCatalog } from "@meridian/catalog";
import { openEmbeddedLogs } from "@meridian/eventlog";
import { createMemoryStore, openLmdbStore } from "@meridian/keyvalue";
import { digestOf } from "@meridian/oci";
import { createLogger, createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import { DevProcess } from "@meridian/test/harness";
import { logIn, manifestOf, type PlainClient } from "./plain-client.ts";
import { quantile } from "./statistics.ts";

const REPOSITORY = "bench/collection";
const BLOBS = 60_000;
const BLOB_BYTES = 1_024;
const SEEDED_AT_ONCE = 500;
/** A steady rate well below what a site can do: the figure is how long an answer takes, not how many there are. */
const PULLS_PER_SECOND = 300;
const CALM_SECONDS = 10;

/** How fast a site removes blobs that nothing needs, and what pulls meanwhile notice. */
export interface CollectionRow {
  readonly blobs: number;
  readonly perMinute: number;
  /** Milliseconds until a manifest or a small blob was there whole: 99 of 100 answers. */
  readonly calmP99: number;
  readonly busyP99: number;
}

interface Status {
  readonly state: string;
  readonly pass: null | {
    readonly startedAt: string;
    readonly finishedAt: string | null;
    readonly failure: string;
    readonly blobs: { readonly count: number };
  };
}

/**
 * One site in one process, its blobs in files: it holds blobs that were uploaded and never named, and the grace is over. A
 * pass deletes their links, asks the members (itself), deletes the records of their holder and removes the files, at the
 * rate that is the default.
 */
export async function benchCollection(say: (line: string) => void): Promise<CollectionRow> {
  const folder = mkdtempSync(join(tmpdir(), "meridian-bench-"));
  try {
    const settings = join(folder, "settings.yaml");
    writeFileSync(settings, "collection: { pinMs: 1, graceMs: 1, everyMs: 0 }\n");
    await using cluster = await DevProcess.start("--sites", "1", "--http", "--log-level", "warn", "--config", settings);
    say(`collection: putting ${BLOBS} blobs of ${BLOB_BYTES} bytes there`);
    await cluster.stop();
    await seed(join(cluster.home, "sites", "eu", "site"));
    await cluster.start();
    return await measure(cluster, say);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(cluster: DevProcess, say: (line: string) => void): Promise<CollectionRow> {
  const client = await logIn(cluster.gateway("eu"), cluster.adminPassword, [REPOSITORY]);
  const config = Buffer.from("{}");
  const digest = await client.pushBlob(REPOSITORY, config);
  const layer = randomBytes(64 * 1024);
  const layers = [{ digest: await client.pushBlob(REPOSITORY, layer), size: layer.length }];
  await client.pushManifest(REPOSITORY, "v1", manifestOf({ digest, size: config.length }, layers, "v1"));
  // The first pass sees that nothing needs them; the next one may remove them.
  await passed(client, say);
  const paths = [`manifests/v1`, `blobs/${layers[0]!.digest}`];
  const calm = await pulls(client, paths, sleep(CALM_SECONDS * 1_000));
  const pass = passed(client, say);
  const busy = await pulls(client, paths, pass);
  const { count, seconds } = await pass;
  return {
    blobs: count,
    perMinute: (count * 60) / seconds,
    calmP99: quantile(calm, 0.99),
    busyP99: quantile(busy, 0.99),
  };
}

/** What as many uploads would have left: files, links and holders' records, without their fsyncs. The site is stopped. */
async function seed(folder: string): Promise<void> {
  const clock = createSystemClock();
  const common = {
    site: "eu",
    clock,
    timers: systemTimers,
    random: systemRandom,
    log: createLogger({ level: "warn" }),
  };
  await using logs = await openEmbeddedLogs({ ...common, path: join(folder, "log"), writer: "eu/site" });
  await using outbox = await openLmdbStore({ path: join(folder, "outbox") });
  const view = createMemoryStore();
  await using catalog = await openCatalog({
    ...common,
    writer: "site",
    serving: true,
    alone: true,
    logs,
    view,
    outbox,
  });
  for (let start = 0; start < BLOBS; start += SEEDED_AT_ONCE) {
    const contents = Array.from({ length: Math.min(SEEDED_AT_ONCE, BLOBS - start) }, () => randomBytes(BLOB_BYTES));
    const changes = contents.flatMap((content): Change[] => {
      const digest = digestOf(content);
      const hex = digest.slice("sha256:".length);
      writeFileSync(join(folder, "blobs", "blobs", "sha256", hex.slice(0, 2), hex), content, { mode: 0o600 });
      return [
        { kind: "link", repository: REPOSITORY, digest, size: BLOB_BYTES },
        { kind: "blob-at-node", digest, node: "eu/site", size: BLOB_BYTES, state: "present" },
      ];
    });
    await catalog.commit(changes);
  }
}

/** Runs a pass to its end. */
async function passed(client: PlainClient, say: (line: string) => void): Promise<{ count: number; seconds: number }> {
  const path = "/v2/_meridian/collection";
  const body = JSON.stringify({ action: "start" });
  await client.call(path, { method: "POST", body }, [200]);
  for (;;) {
    await sleep(200);
    const { state, pass } = (await (await client.call(path, {}, [200])).json()) as Status;
    if (state === "running" || pass?.finishedAt == null) continue;
    if (pass.failure !== "") throw new Error(`a pass failed: ${pass.failure}`);
    const seconds = (Date.parse(pass.finishedAt) - Date.parse(pass.startedAt)) / 1_000;
    say(`collection: a pass of ${seconds.toFixed(1)} s removed ${pass.blobs.count} blobs`);
    return { count: pass.blobs.count, seconds };
  }
}

/** Milliseconds that each pull took from when it was due, at a steady rate until the work is done. */
async function pulls(client: PlainClient, paths: readonly string[], until: Promise<unknown>): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const times: Promise<number>[] = [];
  let over = false;
  void until.then(() => (over = true));
  const started = performance.now();
  for (let index = 0; !over; index++) {
    const due = started + (index * 1_000) / PULLS_PER_SECOND;
    const wait = due - performance.now();
    if (wait > 1) await sleep(wait);
    const url = `${client.origin}/v2/${REPOSITORY}/${paths[index % paths.length]}`;
    times.push(pull(url, client, agent).then((ended) => ended - due));
  }
  const all = await Promise.all(times);
  agent.destroy();
  return all;
}

function pull(url: string, { authorization }: PlainClient, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { headers: { authorization }, agent }, (answer) => {
      answer.on("error", reject);
      answer.on("end", () =>
        answer.statusCode === 200 ? resolve(performance.now()) : reject(new Error(`${url}: ${answer.statusCode}`)),
      );
      answer.resume();
    }).on("error", reject);
  });
}
