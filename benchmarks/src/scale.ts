import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DevProcess } from "@meridian/test/harness";
import { type ColdFold, coldFold } from "./cold-fold.ts";
import { headsPerSecond } from "./heads.ts";
import { logIn } from "./plain-client.ts";
import { RECORDS_PER_TAG, repositoryOf, seedTags } from "./scale-seed.ts";
import { median, quantile } from "./statistics.ts";

const FEW_TAGS = 1_000;
const PER_REPOSITORY = 100;
/** One repository has this many, to be listed. */
const LISTED = 20_000;
const ROUNDS = 5;
const ROUND_SECONDS = 2;
const PAGES = 200;
const ASKED_REPOSITORIES = 50;
/** Until the code is compiled. */
const WARM_UP = 3;
const SITES = ["eu", "us", "ap"] as const;

/** What a registry of so many tags costs and how fast it is. */
export interface ScaleRow {
  readonly tags: number;
  readonly records: number;
  readonly fold: ColdFold;
  /** Milliseconds from exec until eu, whose view is there, is ready. */
  readonly startMs: number;
  /** Records a second that the slower of two sites copied and folded, both at once, from nothing. */
  readonly catchUpPerSecond: number;
  /** HEADs of manifests by random tags, against the same at 1,000 tags in turns: median of the ratios. */
  readonly lookups: number;
  readonly lookupRatio: number;
  /** Milliseconds for a page of 1,000 tags: 99 of 100. */
  readonly pageP99: number;
  /** By site: private memory in MiB, log and view on disk in bytes a record. */
  readonly sites: ReadonlyArray<{ site: string; rssAnon: number; logBytes: number; viewBytes: number }>;
}

/**
 * Three sites with so many tags in a hundredth as many repositories, with their manifests, links and holders: eight
 * records a tag, written into the log of one site. The others copy them, but not the bytes.
 */
export async function benchScale(tags: number, say: (line: string) => void): Promise<ScaleRow> {
  await using few = await DevProcess.start("--sites", "1", "--http", "--log-level", "warn");
  await few.stop();
  await seedTags(siteFolder(few, "eu"), { tags: FEW_TAGS, perRepository: PER_REPOSITORY });
  await few.start();
  await using many = await DevProcess.start("--http", "--log-level", "error");
  const placed = await many.meridian("repo", "set", "scale", "placement=us:lazy,ap:lazy");
  if (placed.code !== 0) throw new Error(`placement: ${placed.stderr}`);
  await many.stop();
  say(`scale: writing ${tags * RECORDS_PER_TAG} records`);
  const listed = Math.min(LISTED, tags / 2);
  const written =
    (await seedTags(siteFolder(many, "eu"), { tags: tags - listed, perRepository: PER_REPOSITORY })) +
    (await seedTags(siteFolder(many, "eu"), { tags: listed, perRepository: Number.MAX_SAFE_INTEGER, from: tags }));
  say("scale: folding them");
  const fold = await coldFold(siteFolder(many, "eu"));
  say(`scale: ${Math.round(fold.perSecond)} records a second; starting three sites`);
  const begun = performance.now();
  await many.start(1_800_000);
  await caughtUp(many, tags + listed - 1);
  const catchUpPerSecond = written / ((performance.now() - begun) / 1_000);
  say("scale: all sites have them; starting them again");
  await many.stop();
  const startMs = await many.start();
  const lookups = await lookUp(few, many, tags - listed, say);
  const pages = await listPages(many, tags, listed);
  return {
    tags,
    records: written,
    fold,
    startMs,
    catchUpPerSecond,
    ...lookups,
    pageP99: quantile(pages, 0.99),
    sites: SITES.map((site) => costOf(many, site, written)),
  };
}

/** Until the last tag shows at every site. */
async function caughtUp(cluster: DevProcess, lastTag: number): Promise<void> {
  const repository = repositoryOf(lastTag, Number.MAX_SAFE_INTEGER);
  for (const site of SITES) {
    for (;;) {
      const client = await logIn(cluster.gateway(site), cluster.adminPassword, [repository]);
      const answer = await client.call(`/v2/${repository}/manifests/v${lastTag}`, { method: "HEAD" }, [200, 404, 503]);
      if (answer.status === 200) break;
      await sleep(500);
    }
  }
}

async function lookUp(
  few: DevProcess,
  many: DevProcess,
  tags: number,
  say: (line: string) => void,
): Promise<{ lookups: number; lookupRatio: number }> {
  const rates: number[] = [];
  const ratios: number[] = [];
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const little = await lookupsPerSecond(few, FEW_TAGS);
    const large = await lookupsPerSecond(many, tags);
    if (round < 0) continue;
    rates.push(large);
    ratios.push(little / large);
    say(`scale: ${Math.round(large)} lookups a second, ${Math.round(little)} at ${FEW_TAGS} tags`);
  }
  return { lookups: median(rates), lookupRatio: median(ratios) };
}

/** Random tags of some repositories, with one token that is good for all of these. */
async function lookupsPerSecond(cluster: DevProcess, tags: number): Promise<number> {
  const asked = Array.from({ length: ASKED_REPOSITORIES }, () => Math.floor((Math.random() * tags) / PER_REPOSITORY));
  const repositories = [...new Set(asked)].map((n) => repositoryOf(n * PER_REPOSITORY, PER_REPOSITORY));
  const client = await logIn(cluster.gateway("eu"), cluster.adminPassword, repositories);
  const paths = asked.flatMap((n) =>
    Array.from({ length: PER_REPOSITORY }, (_, k) => {
      const tag = n * PER_REPOSITORY + k;
      return `/v2/${repositoryOf(tag, PER_REPOSITORY)}/manifests/v${tag}`;
    }),
  );
  return headsPerSecond(client.origin, client.authorization, { paths, seconds: ROUND_SECONDS });
}

async function listPages(cluster: DevProcess, from: number, listed: number): Promise<number[]> {
  const repository = repositoryOf(from, Number.MAX_SAFE_INTEGER);
  const client = await logIn(cluster.gateway("eu"), cluster.adminPassword, [repository]);
  const times: number[] = [];
  for (let page = 0; page < PAGES; page++) {
    const last = `v${from + Math.floor(Math.random() * listed)}`;
    const begun = performance.now();
    const answer = await client.call(`/v2/${repository}/tags/list?n=1000&last=${last}`, {}, [200]);
    await answer.arrayBuffer();
    times.push(performance.now() - begun);
  }
  return times;
}

function costOf(cluster: DevProcess, site: string, records: number): ScaleRow["sites"][number] {
  const pid = cluster.run.sites.find(({ name }) => name === site)!.processes[0]!.pid;
  const rssAnon = Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1_024;
  const bytes = (part: string): number => folderBytes(join(siteFolder(cluster, site), part)) / records;
  return { site, rssAnon, logBytes: bytes("log"), viewBytes: bytes("view") };
}

/** As the disk counts: LMDB's files have holes. */
function folderBytes(folder: string): number {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return files.reduce((sum, file) => sum + statSync(join(folder, file)).blocks * 512, 0);
}

function siteFolder(cluster: DevProcess, site: string): string {
  return join(cluster.home, "sites", site, "site");
}
