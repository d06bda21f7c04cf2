import { randomBytes } from "node:crypto";
import { DevProcess } from "@meridian/test/harness";
import { StaticNginx } from "./nginx.ts";
import { logIn, manifestOf } from "./plain-client.ts";
import { median } from "./statistics.ts";
import { streamRate } from "./stream-rate.ts";
import { wrk } from "./wrk.ts";

const ROUNDS = 5;
const SECONDS = 3;
const REPOSITORY = "bench/app";

/** One line of the table: the same bytes from Meridian and from nginx, rounds interleaved. */
export interface PullRow {
  readonly work: string;
  readonly unit: "/s" | "GB/s";
  readonly meridian: number;
  readonly nginx: number;
}

/** Measures the pull path of one site over plain HTTP/1.1 with login and policy on, beside nginx in the same run. */
export async function benchPullPath(say: (line: string) => void): Promise<PullRow[]> {
  await using cluster = await DevProcess.start("--sites", "1", "--http", "--log-level", "warn");
  const client = await logIn(cluster.gateway("eu"), cluster.adminPassword, [REPOSITORY]);
  const small = randomBytes(64 * 1024);
  const large = randomBytes(100_000_000);
  const config = Buffer.from("{}");
  const layers: Array<{ digest: string; size: number }> = [];
  for (const bytes of [small, large])
    layers.push({ digest: await client.pushBlob(REPOSITORY, bytes), size: bytes.length });
  const manifest = manifestOf(
    { digest: await client.pushBlob(REPOSITORY, config), size: config.length },
    layers,
    "bench",
  );
  await client.pushManifest(REPOSITORY, "v1", manifest);
  await using nginx = await StaticNginx.start(cluster.basePort + 9, { manifest: Buffer.from(manifest), small, large });

  const headers = { authorization: client.authorization };
  const at = (path: string): string => `${client.origin}/v2/${REPOSITORY}/${path}`;
  const rate = (work: string, ours: string, theirs: string): Promise<PullRow> =>
    compare(
      say,
      work,
      "/s",
      () => wrk(ours, { headers, seconds: SECONDS }),
      () => wrk(theirs, { seconds: SECONDS }),
    );
  return [
    await rate("manifest GET by tag", at("manifests/v1"), `${nginx.url}/manifest`),
    await rate("blob GET 64 KiB", at(`blobs/${layers[0]?.digest}`), `${nginx.url}/small`),
    await compare(
      say,
      "blob GET 100 MB, one stream",
      "GB/s",
      async () => (await streamRate(at(`blobs/${layers[1]?.digest}`), headers)) / 1e9,
      async () => (await streamRate(`${nginx.url}/large`)) / 1e9,
    ),
  ];
}

async function compare(
  say: (line: string) => void,
  work: string,
  unit: PullRow["unit"],
  ours: () => Promise<number>,
  theirs: () => Promise<number>,
): Promise<PullRow> {
  const figures = { meridian: [] as number[], nginx: [] as number[] };
  // One round of each that does not count: caches, and the JIT.
  await ours();
  await theirs();
  for (let round = 0; round < ROUNDS; round++) {
    figures.meridian.push(await ours());
    figures.nginx.push(await theirs());
  }
  const row = { work, unit, meridian: median(figures.meridian), nginx: median(figures.nginx) };
  say(`${work}: meridian ${row.meridian.toFixed(2)} ${unit}, nginx ${row.nginx.toFixed(2)} ${unit}`);
  return row;
}
