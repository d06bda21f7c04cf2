import { setTimeout as sleep } from "node:timers/promises";
import type { DevProcess } from "../harness/dev-process.ts";
import { ready, SITES } from "../harness/site-control.ts";
import { until } from "../harness/until.ts";
import type { Observation, Operation } from "./history.ts";
import { pullImage } from "./workload.ts";

const SETTLE_TIMEOUT_MS = 90_000;
const RECEIPT_TIMEOUT = "30s";
const COMPARE_AGAIN_MS = 500;
const PULLS_AT_ONCE = 6;

type Shown = Observation["tags"];

/**
 * What all sites show, once they are ready, show the same tags and hold the bytes of them; when that takes too long, what
 * they show then. `operations` are those to look after: their images are pulled, and their tags' histories read.
 */
export async function observe(
  cluster: DevProcess,
  {
    round,
    repositories,
    operations,
  }: { readonly round: number; readonly repositories: readonly string[]; readonly operations: readonly Operation[] },
): Promise<Observation> {
  await ready(cluster, SITES, SETTLE_TIMEOUT_MS);
  const tags = await settled(cluster, repositories);
  return {
    ...{ kind: "observation", round, tags },
    receipts: await receiptsOf(cluster, tags),
    images: await pulled(cluster, operations),
    histories: await historiesOf(cluster, operations),
    comparisons: await comparisonsOf(cluster),
  };
}

/** Equal at all sites twice in a row, for clients' last requests may still be under way. */
async function settled(cluster: DevProcess, repositories: readonly string[]): Promise<Shown> {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  let before = "";
  for (;;) {
    const shown = await shownTags(cluster, repositories).catch(() => undefined);
    const texts = new Set(
      SITES.map((site) => JSON.stringify(shown?.filter((one) => one.site === site).map((one) => one.tags))),
    );
    const [text = ""] = texts;
    if (shown !== undefined && ((texts.size === 1 && text === before) || performance.now() > deadline)) return shown;
    before = texts.size === 1 ? text : "";
    await sleep(200);
  }
}

async function shownTags(cluster: DevProcess, repositories: readonly string[]): Promise<Shown> {
  const wanted = SITES.flatMap((site) => repositories.map((repository) => ({ site, repository })));
  return await inTurn(wanted, async ({ site, repository }) => {
    const client = cluster.at(site);
    const answer = await client.call(`/v2/${repository}/tags/list`);
    if (answer.status === 404) return { site, repository, tags: {} };
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body.toString()}`);
    const names = (JSON.parse(answer.body.toString()) as { tags: string[] | null }).tags ?? [];
    const tags: Record<string, string> = {};
    for (const tag of names.sort()) {
      const head = await client.call(`/v2/${repository}/manifests/${tag}`, { method: "HEAD" });
      tags[tag] = head.status === 200 ? String(head.headers["docker-content-digest"]) : `status ${head.status}`;
    }
    return { site, repository, tags };
  });
}

/** Asked until every site is complete, or for so long; then pulled at each site. */
async function receiptsOf(cluster: DevProcess, tags: Shown): Promise<Observation["receipts"]> {
  const first = tags.filter(({ site }) => site === SITES[0]);
  const named = first.flatMap(({ repository, tags: shown }) => Object.keys(shown).map((tag) => ({ repository, tag })));
  const receipts = await inTurn(named, async ({ repository, tag }) => {
    const path = `/v2/${repository}/_meridian/replication/${tag}?wait=${SITES.join(",")}&timeout=${RECEIPT_TIMEOUT}`;
    const answer = await until(`a receipt of ${repository}:${tag}`, async () => {
      const told = await cluster.at(SITES[0]).call(path);
      return told.status === 200 || told.status === 504 ? told : false;
    });
    const { sites } = JSON.parse(answer.body.toString()) as { sites: { name: string; state: string }[] };
    return await Promise.all(
      sites.map(async ({ name: site, state }) => {
        const { detail } = await pullImage(cluster.at(site), repository, tag);
        return { repository, tag, site, state, servedBy: detail };
      }),
    );
  });
  return receipts.flat();
}

/** Each image that may have been pushed, at every site. */
async function pulled(cluster: DevProcess, operations: readonly Operation[]): Promise<Observation["images"]> {
  const puts = operations.filter(({ action, outcome }) => action === "push" && outcome === "acknowledged");
  const wanted = puts.flatMap(({ repository, digest = "" }) => SITES.map((site) => ({ site, repository, digest })));
  return await inTurn(wanted, async ({ site, repository, digest }) => {
    const { outcome, detail } = await pullImage(cluster.at(site), repository, digest).catch((error: unknown) => ({
      ...{ outcome: "unknown", detail: String(error) },
    }));
    const status = outcome === "acknowledged" ? 200 : outcome === "absent" ? 404 : 500;
    return { site, repository, digest, status, detail };
  });
}

async function historiesOf(cluster: DevProcess, operations: readonly Operation[]): Promise<Observation["histories"]> {
  const names = new Set(
    operations.flatMap(({ repository, tag }) => (tag === undefined ? [] : [`${repository} ${tag}`])),
  );
  return await inTurn([...names], async (name) => {
    const [repository = "", tag = ""] = name.split(" ");
    const answer = await cluster.at("us").call(`/v2/${repository}/_meridian/tags/${tag}/history`);
    return { repository, tag, digests: answer.body.toString().match(/sha256:[0-9a-f]{64}/g) ?? [] };
  });
}

/** What `meridian diff` says of each pair of sites. */
async function comparisonsOf(cluster: DevProcess): Promise<Observation["comparisons"]> {
  const pairs = SITES.flatMap((site, index) => SITES.slice(index + 1).map((other) => [site, other] as const));
  const found: { sites: string; words: string[] }[] = [];
  for (const [site, other] of pairs)
    found.push({ sites: `${site} ${other}`, words: await compared(cluster, site, other) });
  return found;
}

/** Compared again while anything is under way, or for so long. */
async function compared(cluster: DevProcess, site: string, other: string): Promise<string[]> {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  for (;;) {
    const { failure, differences, underWay } = await compareOnce(cluster, site, other);
    if (failure === "" && differences.length === 0 && underWay === 0) return [];
    const words = differences.map(({ kind, name, left, right }) => `${kind} ${name}: ${left}; ${right}`);
    if (performance.now() > deadline) return [...words, failure, `${underWay} under way`];
    // What differs differs for good: it is not waited for until something repairs it.
    if (differences.length > 0) return words;
    await sleep(COMPARE_AGAIN_MS);
  }
}

interface Comparison {
  readonly finishedAt: string | null;
  readonly failure: string;
  readonly underWay: number;
  readonly differences: ReadonlyArray<{
    readonly kind: string;
    readonly name: string;
    readonly left: string;
    readonly right: string;
  }>;
}

async function compareOnce(cluster: DevProcess, site: string, other: string): Promise<Comparison> {
  const client = cluster.at(site);
  const path = `/v2/_meridian/diff?site=${site}&with=${other}`;
  const begin = { method: "POST", headers: { "content-type": "application/json" }, body: Buffer.from("{}") };
  await until(`${site} compares itself with ${other}`, async () => (await client.call(path, begin)).status === 200);
  return await until(
    `${site} has compared itself with ${other}`,
    async () => {
      const { comparison } = JSON.parse((await client.call(path)).body.toString()) as { comparison: Comparison | null };
      return comparison?.finishedAt == null ? false : comparison;
    },
    SETTLE_TIMEOUT_MS,
  );
}

async function inTurn<T, R>(items: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += PULLS_AT_ONCE)
    results.push(...(await Promise.all(items.slice(start, start + PULLS_AT_ONCE).map(run))));
  return results;
}
