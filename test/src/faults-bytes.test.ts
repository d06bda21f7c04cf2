import assert from "node:assert/strict";
import { globSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, makeImage, type TestImage } from "./harness/oci-client.ts";
import { command, complete, meridian, ready } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

/** What `meridian scrub … --json` prints, as far as it matters here. */
interface Scrubs {
  readonly sites: ReadonlyArray<{
    readonly nodes: ReadonlyArray<{ state: string; damaged: number; lost: number; quarantined: number }>;
  }>;
}

describe("a replica whose bytes have rotted", () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--links");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("a site that can ask only the rotten holder never completes a wrong answer; once another can be asked it has the right bytes", async () => {
    const { layer, digest } = await heldByTwo("rot/one");
    rot("eu", digest);
    await link("link-heal", "eu-us");
    await knows("us", "rot/one");
    await Promise.all(Array.from({ length: 4 }, () => wrongOrNothing("us", "rot/one", digest)));
    // eu may have noticed by itself and have the right bytes back from ap: those us may store.
    for (const file of stored("us", digest)) assert.equal(hashOf(file), digest, "us stored rotten bytes");
    const reported = new RegExp(`${digest}[^\\n]*eu/site|eu/site[^\\n]*${digest}`).test(logOf("us"));
    const noticed = new RegExp(`damaged[^\\n]*${digest}|${digest}[^\\n]*damaged`).test(logOf("eu"));
    assert.ok(reported || noticed, "neither us nor eu reports the rotten copy");
    await link("link-heal", "us-ap");
    const answer = await until("us has it from ap", () => cluster.at("us").pullBlob("rot/one", digest, layer.length));
    assert.equal(answer.digest, digest);
    for (const file of stored("us", digest)) assert.equal(digestOf(readFileSync(file)), digest);
  });

  test("with both holders in reach, many pulls at once get the right bytes or an error, and soon only the right bytes", async () => {
    const { layer, digest } = await heldByTwo("rot/two");
    rot("eu", digest);
    await link("link-delay", "us-ap", 60);
    await link("link-heal", "eu-us");
    await link("link-heal", "us-ap");
    await knows("us", "rot/two");
    await Promise.all(Array.from({ length: 8 }, () => wrongOrNothing("us", "rot/two", digest)));
    await until("us has it", () => cluster.at("us").pullBlob("rot/two", digest, layer.length));
    assert.equal((await cluster.at("us").pullBlob("rot/two", digest, layer.length)).digest, digest);
    await link("link-delay", "us-ap", 0);
  });

  test("a holder that lost the end of its file is replaced inside the same answer", async () => {
    const { layer, digest } = await heldByTwo("rot/short");
    for (const file of stored("eu", digest)) truncateSync(file, statSync(file).size - 1_000_000);
    await link("link-heal", "eu-us");
    await knows("us", "rot/short");
    await link("link-heal", "us-ap");
    await wrongOrNothing("us", "rot/short", digest);
    await until("us has it", () => cluster.at("us").pullBlob("rot/short", digest, layer.length));
  });

  test("a manifest that rotted on the site's own disk is not served; another holder's copy is", async () => {
    const image = makeImage(1_000);
    await cluster.at("eu").push("rot/manifest", "v1", image);
    await complete(cluster, "eu", "rot/manifest", "v1");
    rot("eu", image.digest);
    // What is in memory is right: only a start reads the disk again.
    await command(cluster, { command: "site-kill", site: "eu" });
    await command(cluster, { command: "site-start", site: "eu" });
    await ready(cluster, ["eu"]);
    assert.equal((await cluster.at("us").pull("rot/manifest", "v1")).digest, image.digest);
    const pulled = await until("eu has it again", () => cluster.at("eu").pull("rot/manifest", "v1"), 20_000);
    assert.equal(pulled.digest, image.digest);
  });

  test("a scrub finds what no reader met, sets it aside and gets it back; it can be paused, and says how far it is", async () => {
    const image = makeImage(2_000_000);
    await cluster.at("eu").push("rot/unread", "v1", image);
    await complete(cluster, "eu", "rot/unread", "v1");
    const digest = digestOf(image.layers[0] ?? Buffer.alloc(0));
    rot("eu", digest);
    const paused = JSON.parse(await meridian(cluster, "scrub", "pause", "--json")) as Scrubs;
    assert.deepEqual(
      paused.sites.flatMap(({ nodes }) => nodes.map(({ state }) => state)),
      ["paused", "paused", "paused"],
    );
    assert.match(await meridian(cluster, "scrub", "status", "eu"), /eu\/site +paused/);
    await cluster.meridian("scrub", "start", "--wait");
    await until("eu's copy is right again", () => stored("eu", digest).some((file) => hashOf(file) === digest));
    const [node] =
      (JSON.parse(await meridian(cluster, "scrub", "status", "eu", "--json")) as Scrubs).sites[0]?.nodes ?? [];
    assert.equal(node?.state, "idle");
    assert.ok((node?.damaged ?? 0) >= 1 && (node?.quarantined ?? 0) >= 1, JSON.stringify(node));
    assert.equal(node?.lost, 0);
    assert.match(logOf("eu"), new RegExp(`damaged[^\\n]*${digest}|${digest}[^\\n]*damaged`));
    const { admin } = cluster.run.sites.find(({ name }) => name === "eu") ?? assert.fail("no eu");
    assert.match(await (await fetch(`${admin}/metrics`)).text(), /copies_damaged\S*\{[^}]*problem=/);
  });

  test("what is damaged or gone while a site is down is found at its start and comes back, and never served wrong", async () => {
    const images = Array.from({ length: 5 }, () => makeImage(300_000 + Math.floor(Math.random() * 1_000)));
    for (const [i, image] of images.entries()) {
      await cluster.at("us").push("rot/down", `v${i}`, image);
      await complete(cluster, "us", "rot/down", `v${i}`);
    }
    const digests = images.map((image) => digestOf(image.layers[0] ?? Buffer.alloc(0)));
    const files = digests.map((digest) => stored("eu", digest)[0] ?? assert.fail("eu holds it"));
    const [folder = "", link = "", short = "", gone = "", empty = ""] = files;
    await command(cluster, { command: "site-kill", site: "eu" });
    rmSync(folder);
    mkdirSync(join(folder, "something"), { recursive: true });
    rmSync(link);
    symlinkSync("/nowhere", link);
    truncateSync(short, 1_000);
    rmSync(gone);
    truncateSync(empty, 0);
    await command(cluster, { command: "site-start", site: "eu" });
    await ready(cluster, ["eu"]);
    for (const [i, image] of images.entries()) {
      const layer = image.layers[0] ?? Buffer.alloc(0);
      await until("eu serves it", () => cluster.at("eu").pullBlob("rot/down", digestOf(layer), layer.length));
      assert.equal((await cluster.at("eu").pull("rot/down", `v${i}`)).digest, image.digest);
    }
    const isRight = (file: string, i: number): boolean => statSync(file).isFile() && hashOf(file) === digests[i];
    await until("eu holds all again", () => files.every(isRight));
  });

  /** Pushes at eu while us is cut off, until ap has a copy. */
  async function heldByTwo(repository: string): Promise<{ image: TestImage; layer: Buffer; digest: string }> {
    await link("link-cut", "eu-us");
    await link("link-cut", "us-ap");
    const image = makeImage(3_000_000);
    const layer = image.layers[0] ?? Buffer.alloc(0);
    await cluster.at("eu").push(repository, "v1", image);
    await complete(cluster, "eu", repository, "v1", ["eu", "ap"]);
    assert.deepEqual(stored("us", digestOf(layer)), [], "us is not cold");
    return { image, layer, digest: digestOf(layer) };
  }

  /** The manifest comes from memory or a small blob; only the layer is rotten. */
  async function knows(site: string, repository: string): Promise<void> {
    const path = `/v2/${repository}/manifests/v1`;
    await until(`${site} knows ${repository}`, async () => (await cluster.at(site).call(path)).status === 200);
  }

  /** A complete answer has the right bytes; anything else must not look complete. */
  async function wrongOrNothing(site: string, repository: string, digest: string): Promise<void> {
    const answering = cluster.at(site).call(`/v2/${repository}/blobs/${digest}`, { discard: true });
    const answer = await answering.catch((error: unknown) => {
      assert.match(String(error), /broke off|socket hang up|ECONNRESET|aborted/);
      return undefined;
    });
    if (answer?.status === 200) assert.equal(answer.digest, digest, "a complete answer with wrong bytes");
    else if (answer !== undefined) assert.equal(answer.status, 503, answer.body.toString());
  }

  function link(name: "link-cut" | "link-heal" | "link-delay", pair: string, rttMs = 0): Promise<void> {
    const wanted = { pair, oneWay: false } as const;
    if (name === "link-delay") return command(cluster, { command: name, pair, rttMs });
    return command(
      cluster,
      name === "link-cut" ? { command: name, ...wanted, reset: false } : { command: name, ...wanted },
    );
  }

  function stored(site: string, digest: string): string[] {
    return globSync(join(cluster.home, `sites/${site}/site/blobs/blobs/sha256/*/${digest.slice(7)}`));
  }

  /** Flips one bit in the middle of the site's copy, as a disk does. */
  function rot(site: string, digest: string): void {
    const files = stored(site, digest);
    assert.equal(files.length, 1, `${site} holds one copy`);
    for (const file of files) {
      const bytes = readFileSync(file);
      const middle = Math.floor(bytes.length / 2);
      bytes[middle] = (bytes[middle] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    }
  }

  function hashOf(file: string): string {
    return digestOf(readFileSync(file));
  }

  function logOf(site: string): string {
    return readFileSync(join(cluster.home, `sites/${site}/site.log`), "utf8");
  }
});
