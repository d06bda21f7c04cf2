import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  cpSync,
  globSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { type Answer, digestOf, MANIFEST_TYPE, makeImage, type TestImage } from "./harness/oci-client.ts";
import { command, complete, ready } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

describe("a site whose disk is full", { skip: cannotMount() }, () => {
  const image = makeImage(2_000_000, 5_000);
  const meanwhile = makeImage(300_000);
  const cleanUp = new AsyncDisposableStack();
  let cluster: DevProcess;
  /** The data folder of eu, a disk of its own. */
  let disk = "";
  let pid = 0;

  before(async () => {
    cluster = cleanUp.use(await DevProcess.start());
    await cluster.at("eu").push("full/app", "v1", image);
    await complete(cluster, "eu", "full/app", "v1");
    await command(cluster, { command: "site-stop", site: "eu" });
    disk = join(cluster.home, "sites/eu/site");
    renameSync(disk, `${disk}.before`);
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64m", "tmpfs", disk]);
    // Also while something still uses it: the folder under it can be removed at once.
    cleanUp.defer(() => void execFileSync("umount", ["--lazy", disk]));
    cleanUp.defer(() => cluster.stop());
    cpSync(`${disk}.before`, disk, { recursive: true });
    await command(cluster, { command: "site-start", site: "eu" });
    await ready(cluster);
    pid = cluster.pid("eu", "site");
  });
  after(() => cleanUp.disposeAsync());

  test("an upload larger than what is left is 507 and names the site and what to do; nothing of it is visible", async () => {
    fillDisk(20_000_000);
    const big = makeImage(40_000_000);
    const [layer] = big.layers;
    isFull(await pushBlob(layer ?? Buffer.alloc(0)));
    await isAbsent(digestOf(layer ?? Buffer.alloc(0)));
  });

  test("on a disk without any space left nothing is acknowledged, and nothing refused is visible anywhere", async () => {
    fillDisk(0);
    const small = makeImage(1_000);
    isFull(await pushBlob(small.config));
    await isAbsent(digestOf(small.config));
    isFull(await putManifest("again", image));
    isFull(await cluster.at("eu").call("/v2/full/app/manifests/v1", { method: "DELETE" }));
    for (const site of ["eu", "us", "ap"]) assert.deepEqual(await tagsAt(site), ["v1"], site);
  });

  test("pulls go on, the other sites take pushes, and what only they know is never called unknown", async () => {
    assert.equal((await cluster.at("eu").pull("full/app", "v1")).digest, image.digest);
    await cluster.at("us").push("full/app", "meanwhile", meanwhile);
    for (const path of [`manifests/${meanwhile.digest}`, `blobs/${digestOf(meanwhile.config)}`]) {
      const answer = await cluster.at("eu").call(`/v2/full/app/${path}`);
      assert.match(`${answer.status}`, /^(200|503)$/, `${path}: ${answer.body}`);
    }
    assert.equal((await cluster.at("eu").pull("full/app", "v1")).digest, image.digest);
    assert.equal(cluster.pid("eu", "site"), pid, "the process ended and was started again");
  });

  test("it says what is wrong where an operator looks", async () => {
    await until("/readyz names disk and log", async () => {
      const { status, body } = await cluster.at("eu").call("/readyz");
      return (
        status === 503 &&
        /"storage","ok":false,"message":"no space/.test(`${body}`) &&
        /MiB are free at/.test(`${body}`)
      );
    });
    // The copies of the peers' logs cannot be folded: that is tried again and again, and said once for each.
    const log = readFileSync(join(cluster.home, "sites/eu/site.log"), "utf8");
    const lost = log.split("\n").filter((line) => line.includes("lost the tail of a log")).length;
    assert.ok(lost <= 9, `${lost} lines about the same trouble`);
  });

  test("once there is space again pushes work, what was missed arrives, and nothing had to be started again", async () => {
    emptyDisk();
    const small = makeImage(1_000);
    await until("a push is taken", () => cluster.at("eu").push("full/app", "after", small), 10_000);
    assert.equal((await cluster.at("us").pull("full/app", small.digest)).digest, small.digest);
    await until("eu has caught up", async () => (await tagsAt("eu")).join() === "after,meanwhile,v1", 15_000);
    assert.equal((await cluster.at("eu").pull("full/app", "meanwhile")).digest, meanwhile.digest);
    await complete(cluster, "eu", "full/app", "meanwhile");
    assert.equal(cluster.pid("eu", "site"), pid, "the process ended and was started again");
  });

  test("killed and started on a full disk it serves pulls, and takes pushes once there is space", async () => {
    fillDisk(0);
    await command(cluster, { command: "site-kill", site: "eu" });
    await command(cluster, { command: "site-start", site: "eu" });
    await until("a pull works", () => cluster.at("eu").pull("full/app", "v1"), 20_000);
    assert.notEqual((await putManifest("again", image)).status, 201);
    emptyDisk();
    await ready(cluster, ["eu"]);
    const small = makeImage(1_000);
    await until("a push is taken", () => cluster.at("eu").push("full/app", "restarted", small), 10_000);
    assert.deepEqual(await tagsAt("eu"), ["after", "meanwhile", "restarted", "v1"]);
  });

  /** The answer to the last step of an upload, or to the one that refused it. */
  async function pushBlob(blob: Buffer): Promise<Answer> {
    const eu = cluster.at("eu");
    const begun = await eu.call("/v2/full/app/blobs/uploads/", { method: "POST" });
    if (begun.status !== 202) return begun;
    return await eu.call(`${begun.headers.location}?digest=${digestOf(blob)}`, { method: "PUT", body: blob });
  }

  function putManifest(tag: string, { manifest }: TestImage): Promise<Answer> {
    const headers = { "content-type": MANIFEST_TYPE };
    return cluster.at("eu").call(`/v2/full/app/manifests/${tag}`, { method: "PUT", headers, body: manifest });
  }

  function isFull(answer: Answer): void {
    assert.equal(answer.status, 507, answer.body.toString());
    assert.match(answer.body.toString(), /INSUFFICIENT_STORAGE/);
    assert.match(answer.body.toString(), /site eu .*free or add disk space/);
  }

  async function isAbsent(digest: string): Promise<void> {
    for (const site of ["eu", "us", "ap"]) {
      assert.equal((await cluster.at(site).call(`/v2/full/app/blobs/${digest}`)).status, 404, site);
    }
    assert.deepEqual(globSync(join(disk, `blobs/blobs/*/*/${digest.slice(7)}`)), []);
  }

  async function tagsAt(site: string): Promise<string[]> {
    const answer = await cluster.at(site).call("/v2/full/app/tags/list");
    return (JSON.parse(answer.body.toString()) as { tags: string[] }).tags;
  }

  /** Leaves so many bytes free, by a file that has nothing to do with Meridian. */
  function fillDisk(leave: number): void {
    const filler = openSync(join(disk, "filler"), "a");
    try {
      for (let free = freeBytes(); free > leave; free = freeBytes()) {
        writeSync(filler, Buffer.alloc(Math.min(free - leave, 1 << 20)));
      }
    } finally {
      closeSync(filler);
    }
  }

  function emptyDisk(): void {
    rmSync(join(disk, "filler"));
  }

  function freeBytes(): number {
    const { bavail, bsize } = statfsSync(disk);
    return bavail * bsize;
  }
});

/** False when this user may mount a tmpfs; root must be able to under MERIDIAN_REQUIRE=all. */
function cannotMount(): string | false {
  const reason = "needs the right to mount a tmpfs";
  if (process.platform !== "linux" || process.getuid?.() !== 0) return reason;
  try {
    execFileSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], { stdio: "ignore" });
    return false;
  } catch {
    if (process.env.MERIDIAN_REQUIRE === "all") throw new Error(reason);
    return reason;
  }
}
