import { DevProcess } from "@meridian/test/harness";
import { KeptConnections } from "./kept-connections.ts";
import { logIn, manifestOf } from "./plain-client.ts";
import { quantile } from "./statistics.ts";

const REPOSITORY = "bench/lag";
const PUSHES_PER_SECOND = 50;
const SECONDS = 20;
/** Not counted, at the same rate: what a process runs in its first seconds is interpreted, not compiled. */
const WARM_UP_SECONDS = 10;

/** How long after a push was answered at one site another site shows it, in milliseconds. */
export interface LagRow {
  readonly driver: "embedded" | "nats";
  readonly pushes: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/**
 * Pushes manifests at a steady rate at eu and asks us for each at once by HEAD, with the push's version token: the
 * answer comes when us shows the tag. The figure includes that request itself.
 */
export async function benchRecordLag(driver: LagRow["driver"], say: (line: string) => void): Promise<LagRow> {
  const flags = driver === "nats" ? ["--nats"] : [];
  await using cluster = await DevProcess.start("--sites", "2", "--http", "--log-level", "warn", ...flags);
  const eu = await logIn(cluster.gateway("eu"), cluster.adminPassword, [REPOSITORY]);
  const us = await logIn(cluster.gateway("us"), cluster.adminPassword, [REPOSITORY]);
  const config = Buffer.from("{}");
  const descriptor = { digest: await eu.pushBlob(REPOSITORY, config), size: config.length };
  using pushing = new KeptConnections(eu.origin);
  using asking = new KeptConnections(us.origin);
  const sites = {
    eu: { kept: pushing, authorization: eu.authorization },
    us: { kept: asking, authorization: us.authorization },
  };
  const lagOf = (tag: string): Promise<number> => oneLag(sites, tag, manifestOf(descriptor, [], tag));
  await steadily(WARM_UP_SECONDS, (index) => lagOf(`w${index}`));
  const values = await steadily(SECONDS, (index) => lagOf(`v${index}`));
  const row = {
    driver,
    pushes: values.length,
    p50: quantile(values, 0.5),
    p99: quantile(values, 0.99),
    max: quantile(values, 1),
  };
  say(
    `record lag, ${driver}: p50 ${row.p50.toFixed(1)} ms, p99 ${row.p99.toFixed(1)} ms, max ${row.max.toFixed(1)} ms over ${row.pushes} pushes`,
  );
  return row;
}

/** Starts `run` at the rate, whether or not earlier ones have ended. */
async function steadily(seconds: number, run: (index: number) => Promise<number>): Promise<number[]> {
  const started = performance.now();
  const running: Promise<number>[] = [];
  for (let index = 0; index < PUSHES_PER_SECOND * seconds; index++) {
    const wait = started + (index * 1000) / PUSHES_PER_SECOND - performance.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
    running.push(run(index));
  }
  return Promise.all(running);
}

interface Site {
  readonly kept: KeptConnections;
  readonly authorization: string;
}

async function oneLag({ eu, us }: { eu: Site; us: Site }, tag: string, manifest: string): Promise<number> {
  const path = `/v2/${REPOSITORY}/manifests/${tag}`;
  const type = "application/vnd.oci.image.manifest.v1+json";
  const pushed = await eu.kept.ask("PUT", path, {
    headers: { authorization: eu.authorization, "content-type": type },
    body: manifest,
  });
  const answered = performance.now();
  const version = pushed.headers["meridian-version"];
  if (pushed.status !== 201 || typeof version !== "string")
    throw new Error(`a push was answered with ${pushed.status}, version token ${version}: ${pushed.body}`);
  const seen = await us.kept.ask("HEAD", path, {
    headers: { authorization: us.authorization, "meridian-min-version": version },
  });
  if (seen.status !== 200) throw new Error(`${path} at us: ${seen.status}`);
  return performance.now() - answered;
}
