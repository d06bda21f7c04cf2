import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, MANIFEST_TYPE, makeImage, type OciClient, type TestImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { command, complete, meridian, ready, SITES } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

/** What `meridian gc --json` says of a site. */
interface SiteCollection {
  readonly site: string;
  readonly state: string;
  readonly waitingFor: readonly string[];
  readonly pass: { readonly failure: string; readonly deletions: number } | null;
}

/** Nothing needs a blob for longer than this, and a client that was told of it has this long. */
const GRACE_MS = 2_000;
const SETTINGS = `
collection:
  graceMs: ${GRACE_MS}
  pinMs: ${GRACE_MS}
  everyMs: 200
  retireAfterMs: ${2 * GRACE_MS}
`;

describe("collection of what nothing needs, at three sites", () => {
  let cluster: DevProcess;
  let folder: string;
  const at = (site: string): OciClient => cluster.at(site);
  const fileOf = (site: string, digest: string): string => {
    const hex = digest.slice("sha256:".length);
    return join(cluster.home, "sites", site, "site", "blobs", "blobs", "sha256", hex.slice(0, 2), hex);
  };
  const isStored = (site: string, digest: string): boolean => existsSync(fileOf(site, digest));
  const isGone = (digest: string): boolean => SITES.every((site) => !isStored(site, digest));
  const statusOf = async (site: string): Promise<SiteCollection> => {
    const answer = await at(site).call("/v2/_meridian/collection");
    assert.equal(answer.status, 200, answer.body.toString());
    return JSON.parse(answer.body.toString()) as SiteCollection;
  };
  const deleteImage = async (site: string, repository: string, { digest }: TestImage): Promise<void> => {
    const answer = await at(site).call(`/v2/${repository}/manifests/${digest}`, { method: "DELETE" });
    assert.equal(answer.status, 202, answer.body.toString());
  };
  const isPullable = async (site: string, repository: string, image: TestImage): Promise<void> => {
    for (const blob of [image.config, ...image.layers]) {
      const pulled = await at(site).call(`/v2/${repository}/blobs/${digestOf(blob)}`, { discard: true });
      assert.equal(pulled.status, 200, `${site}: ${repository} ${digestOf(blob)}`);
      assert.equal(pulled.digest, digestOf(blob));
    }
  };

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "meridian-collection-"));
    writeFileSync(join(folder, "settings.yaml"), SETTINGS);
    cluster = await DevProcess.start("--links", "--config", join(folder, "settings.yaml"));
  });
  after(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test("a deleted image's bytes go everywhere; layers that another image needs stay, and so do its signature's until it goes", async () => {
    const shared = randomBytes(50_000);
    const first = withLayers(shared, randomBytes(60_000));
    const second = withLayers(shared, randomBytes(70_000));
    await at("eu").push("team/one", "v1", first);
    await at("us").push("team/two", "v1", second);
    const signature = signatureOf(first);
    await at("eu").push("team/one", `sha256-${first.digest.slice("sha256:".length)}.sig`, signature);
    for (const site of SITES) await complete(cluster, site, "team/one", "v1");
    for (const site of SITES) await complete(cluster, site, "team/two", "v1");
    await deleteImage("us", "team/one", first);
    const own = [digestOf(first.layers[1]!), first.digest, digestOf(first.config)];
    await until("the image's own bytes are gone at every site", () => own.every(isGone), 90_000);
    await until("its signature went with it", () => isGone(digestOf(signature.layers[0]!)), 90_000);
    assert.deepEqual(
      SITES.map((site) => isStored(site, digestOf(shared))),
      [true, true, true],
    );
    for (const site of SITES) await isPullable(site, "team/two", second);
    for (const site of SITES) assert.equal((await at(site).call(`/v2/team/one/tags/list`)).body.includes("sig"), false);
  });

  test("a client that was told that a blob is there can push its manifest, whenever it asks", async () => {
    const blobs = Array.from({ length: 12 }, () => randomBytes(2_000));
    const told = { exists: 0, absent: 0 };
    // Each is asked for again after about the time that a pin lasts.
    const rounds = performance.now() + 5 * GRACE_MS;
    for (let turn = 0; performance.now() < rounds; turn++) {
      const blob = blobs[turn % blobs.length]!;
      const site = SITES[turn % SITES.length]!;
      const image = withLayers(blob);
      await at(site).pushBlob("team/told", image.config);
      const head = await at(site).call(`/v2/team/told/blobs/${digestOf(blob)}`, { method: "HEAD" });
      if (head.status === 200) told.exists += 1;
      else {
        told.absent += 1;
        await at(site).pushBlob("team/told", blob);
      }
      const pushed = await at(site).call("/v2/team/told/manifests/latest", {
        method: "PUT",
        headers: { "content-type": MANIFEST_TYPE },
        body: image.manifest,
      });
      assert.equal(pushed.status, 201, `HEAD said ${head.status}: ${pushed.body.toString()}`);
      await isPullable(site, "team/told", image);
      await deleteImage(site, "team/told", image);
    }
    assert.ok(told.absent > 0, JSON.stringify(told));
  });

  test("a site that is cut off makes the others wait and say so; after it is back they go on", async () => {
    const image = makeImage(80_000);
    const [layer] = image.layers.map(digestOf) as [string];
    await at("eu").push("team/cut", "v1", image);
    for (const site of SITES) await complete(cluster, site, "team/cut", "v1");
    for (const link of ["eu-ap", "us-ap"])
      await command(cluster, { command: "link-cut", pair: link, oneWay: false, reset: false });
    await deleteImage("eu", "team/cut", image);
    await until("eu waits for ap", async () => {
      const { state, waitingFor } = await statusOf("eu");
      return state === "waiting" && waitingFor.some((line) => line.startsWith("ap:"));
    });
    const shown = JSON.parse(await meridian(cluster, "gc", "status", "--site", "eu", "--json")) as {
      sites: SiteCollection[];
    };
    assert.equal(shown.sites[0]?.state, "waiting");
    assert.ok(isStored("eu", image.digest) && isStored("eu", layer) && isStored("us", layer));
    for (const link of ["eu-ap", "us-ap"]) await command(cluster, { command: "link-heal", pair: link, oneWay: false });
    await until("its bytes are gone at every site", () => isGone(image.digest) && isGone(layer), 120_000);
  });

  test("killed again and again while it collects, a site loses nothing and gets done", async () => {
    const kept = Array.from({ length: 5 }, () => makeImage(20_000));
    for (const [index, image] of kept.entries()) await at("us").push("team/kept", `v${index}`, image);
    for (const index of kept.keys()) await complete(cluster, "us", "team/kept", `v${index}`);
    await meridian(cluster, "gc", "--site", "us", "--rate", "40");
    const loose = Array.from({ length: 200 }, () => randomBytes(1_000));
    for (const blob of loose) await at("us").pushBlob("team/loose", blob);
    const left = (): number => loose.filter((blob) => isStored("us", digestOf(blob))).length;
    for (let round = 0; round < 2; round++) {
      const before = left();
      await until("it is removing", () => left() < before, 90_000);
      await command(cluster, { command: "process-kill", process: "us/site", hold: false });
      await ready(cluster, ["us"]);
    }
    await meridian(cluster, "gc", "--site", "us", "--rate", "1000");
    await until("all that nothing needs is gone", () => left() === 0, 120_000);
    for (const site of SITES) for (const image of kept) await isPullable(site, "team/kept", image);
  });

  test("old deletions are dropped at every site, and what was deleted can be pushed again", async () => {
    const image = makeImage(10_000);
    await at("eu").push("team/again", "v1", image);
    for (const site of SITES) await complete(cluster, site, "team/again", "v1");
    await deleteImage("ap", "team/again", image);
    const dropped = new Set<string>();
    await until(
      "each site dropped deletions",
      async () => {
        for (const site of SITES) if (((await statusOf(site)).pass?.deletions ?? 0) > 0) dropped.add(site);
        return dropped.size === SITES.length;
      },
      90_000,
    );
    await at("us").push("team/again", "v1", image);
    for (const site of SITES) await complete(cluster, site, "team/again", "v1");
    for (const site of SITES) await isPullable(site, "team/again", image);
  });

  test("an operator pauses it, over a restart too, and lets it go on", async () => {
    await meridian(cluster, "gc", "--pause");
    const image = makeImage(30_000);
    await at("eu").push("team/paused", "v1", image);
    await complete(cluster, "eu", "team/paused", "v1");
    await deleteImage("eu", "team/paused", image);
    await command(cluster, { command: "process-kill", process: "eu/site", hold: false });
    await ready(cluster, ["eu"]);
    assert.equal((await statusOf("eu")).state, "paused");
    const refused = await cluster.meridian("gc", "--site", "eu");
    assert.equal(refused.code, 1);
    const dry = await meridian(cluster, "gc", "--dry-run", "--json");
    assert.equal((JSON.parse(dry) as { sites: SiteCollection[] }).sites.length, SITES.length);
    assert.ok(isStored("eu", image.digest));
    await meridian(cluster, "gc", "--resume");
    await until("its bytes are gone", () => isGone(image.digest), 90_000);
  });
});

describe("collection where every service is its own process", { skip: needs("nats-server") }, () => {
  test("bytes go from every node once both gateways of each site said so, and wait while one is away", async () => {
    const folder = mkdtempSync(join(tmpdir(), "meridian-collection-"));
    writeFileSync(join(folder, "settings.yaml"), SETTINGS);
    try {
      const args = ["--nats", "--sites", "eu,us", "--gateways", "2", "--blob-nodes", "2"];
      await using cluster = await DevProcess.start(...args, "--config", join(folder, "settings.yaml"));
      const sites = ["eu", "us"];
      const files = (digest: string): string[] => {
        const hex = digest.slice("sha256:".length);
        const nodes = sites.flatMap((site) => ["blob-node-1", "blob-node-2"].map((node) => [site, node]));
        return nodes
          .map(([site = "", node = ""]) =>
            join(cluster.home, "sites", site, node, "blobs", "blobs", "sha256", hex.slice(0, 2), hex),
          )
          .filter((path) => existsSync(path));
      };
      const [gone, kept] = [makeImage(40_000), makeImage(40_000)];
      await cluster.at("eu").push("team/gone", "v1", gone);
      await cluster.at("us").push("team/kept", "v1", kept);
      for (const name of ["gone", "kept"]) await complete(cluster, "eu", `team/${name}`, "v1", sites);
      const layer = digestOf(gone.layers[0]!);
      assert.ok(files(layer).length >= 2);
      await command(cluster, { command: "process-kill", process: "us/gateway-2", hold: true });
      const deleted = await cluster.at("eu").call(`/v2/team/gone/manifests/${gone.digest}`, { method: "DELETE" });
      assert.equal(deleted.status, 202);
      await until(
        "eu waits for us' second gateway",
        async () => {
          const answer = await cluster.at("eu").call("/v2/_meridian/collection");
          const { state, waitingFor } = JSON.parse(answer.body.toString()) as SiteCollection;
          return state === "waiting" && waitingFor.some((line) => line.includes("gateway-2"));
        },
        90_000,
      );
      assert.ok(files(gone.digest).length >= 2);
      await command(cluster, { command: "process-start", process: "us/gateway-2" });
      await until("every copy is gone", () => [layer, gone.digest].every((one) => files(one).length === 0), 120_000);
      assert.ok(files(digestOf(kept.layers[0]!)).length >= 2);
      for (const site of sites) await cluster.at(site).pull("team/kept", "v1");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** An image of these very layers. */
function withLayers(...layers: Buffer[]): TestImage {
  const made = makeImage();
  const descriptors = layers.map((layer) => ({
    mediaType: "application/vnd.oci.image.layer.v1.tar",
    digest: digestOf(layer),
    size: layer.length,
  }));
  const manifest = Buffer.from(JSON.stringify({ ...JSON.parse(made.manifest.toString()), layers: descriptors }));
  return { ...made, layers, manifest, digest: digestOf(manifest) };
}

/** Something attached by its tag. */
function signatureOf({ digest }: TestImage): TestImage {
  return withLayers(Buffer.from(`signature of ${digest}`));
}
