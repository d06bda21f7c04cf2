import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, MANIFEST_TYPE, makeImage, type TestImage } from "./harness/oci-client.ts";
import { command, meridian, ready } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

interface ListedSite {
  readonly site: string;
  readonly membership: string;
  readonly drain: { readonly blobs: number; readonly records: number; readonly drained: boolean } | null;
}

describe("a cluster that grows from one site to three and shrinks again while it is used", () => {
  let cluster: DevProcess;
  let traffic: Traffic;

  before(async () => {
    cluster = await DevProcess.start("--sites", "eu");
    traffic = new Traffic(cluster);
  });
  after(async () => {
    await traffic.stop();
    await cluster[Symbol.asyncDispose]();
  });

  test("from one site to three: each new one has what was there before, and serves at once", async () => {
    const old = makeImage(2_000_000, 500_000);
    await cluster.at("eu").push("old/app", "v1", old);
    traffic.start("eu");
    for (const site of ["us", "ap"]) {
      const line = await meridian(cluster, "site", "add", site, "--wait", "--timeout", "90s");
      assert.match(line, new RegExp(`^${site} is active \\(policy revision 1\\.\\d+\\): (has everything|serves)`));
      traffic.start(site);
      assert.equal((await cluster.at(site).pull("old/app", "v1")).digest, old.digest);
    }
    await traffic.rounds(3);
    assert.deepEqual(traffic.failures, []);
    assert.deepEqual(await memberships(), { eu: "active", us: "active", ap: "active" });
    const status = await meridian(cluster, "status", "--json");
    assert.equal((JSON.parse(status) as { sites: unknown[] }).sites.length, 3);
  });

  test("a site is removed only when it is drained; what only it had is elsewhere then", async () => {
    await meridian(cluster, "repo", "set", "lonely", "placement=eu:lazy,us:lazy");
    await until("ap knows what is set", async () =>
      (await cluster.at("ap").call("/v2/lonely/app/_meridian/settings")).body.toString().includes("eu:lazy"),
    );
    const only = makeImage(1_500_000);
    await cluster.at("ap").push("lonely/app", "v1", only);
    const early = await cluster.meridian("site", "remove", "ap");
    assert.equal(early.code, 1);
    assert.match(
      early.stderr,
      /blobs \(\d+ bytes\) and \d+ records are only at ap: `meridian site drain ap` first; nothing was changed/,
    );
    const home = await cluster.meridian("site", "remove", "eu", "--force");
    assert.match(home.stderr, /eu is the home of the policy log/);

    assert.match(
      await meridian(cluster, "site", "drain", "ap", "--wait", "--timeout", "60s"),
      /drained: nothing is only here/,
    );
    // Writes go on through it, at another site.
    const through = makeImage(300_000);
    await cluster.at("ap").push("through/app", "v1", through);
    assert.equal((await cluster.at("ap").pull("through/app", "v1")).digest, through.digest);
    const tag = await cluster.at("ap").call("/v2/through/app/manifests/v1", { method: "DELETE" });
    assert.equal(tag.status, 202);

    await traffic.stop("ap");
    assert.match(await meridian(cluster, "site", "remove", "ap"), /^ap is no member any more/);
    await cluster.at("eu").pull("lonely/app", "v1");
    await until("ap is forgotten", () => !cluster.run.sites.some(({ name }) => name === "ap"));
    assert.deepEqual(await memberships(), { eu: "active", us: "active", ap: "removed" });
    const receipt = await cluster.at("us").call("/v2/lonely/app/_meridian/replication/v1?wait=*&timeout=20s");
    const { sites } = JSON.parse(receipt.body.toString()) as { sites: { name: string }[] };
    assert.deepEqual(sites.map(({ name }) => name).toSorted(), ["eu", "us"], "nobody waits for ap");
    for (const site of ["eu", "us"])
      await until(`${site} keeps no log of ap`, async () =>
        logged(site).includes("the log of a former member is no longer kept"),
      );
  });

  test("from two to one: everything that was pushed at any time is there, and nothing failed", async () => {
    await meridian(cluster, "site", "drain", "us", "--wait", "--timeout", "60s");
    await traffic.stop("us");
    await meridian(cluster, "site", "remove", "us");
    await traffic.rounds(2);
    await traffic.stop();
    assert.deepEqual(traffic.failures, []);
    for (const { repository, tag, digest } of traffic.pushed)
      assert.equal((await cluster.at("eu").pull(repository, tag)).digest, digest, `${repository}:${tag}`);
    assert.ok(traffic.pushed.length >= 10, `only ${traffic.pushed.length} pushes`);
    assert.equal((await cluster.at("eu").call("/v2/through/app/manifests/v1")).status, 404, "a delete stays one");
  });

  test("the next start runs the sites that are left", async () => {
    await cluster.stop();
    await cluster.start();
    assert.deepEqual(
      cluster.run.sites.map(({ name }) => name),
      ["eu"],
    );
    await ready(cluster, ["eu"]);
  });

  async function memberships(): Promise<Record<string, string>> {
    const { sites } = JSON.parse(await meridian(cluster, "site", "list", "--json")) as { sites: ListedSite[] };
    return Object.fromEntries(sites.map(({ site, membership }) => [site, membership]));
  }

  function logged(site: string): string {
    return readFileSync(join(cluster.home, `sites/${site}/site.log`), "utf8");
  }
});

describe("a site that is lost", () => {
  let cluster: DevProcess;

  const image = makeImage(400_000);

  before(async () => {
    cluster = await DevProcess.start("--links");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("is expelled: it is refused when it comes back, and nothing of it comes to life", async () => {
    const kept = makeImage(200_000);
    await cluster.at("ap").push("app", "kept", kept);
    await until("eu has it", async () => (await cluster.at("eu").pull("app", "kept")).digest === kept.digest);
    for (const pair of ["ap-eu", "ap-us"])
      await command(cluster, { command: "link-cut", pair, oneWay: false, reset: true });
    await cluster.at("ap").push("app", "only", image);
    assert.equal((await cluster.at("eu").call("/v2/app/manifests/kept", { method: "DELETE" })).status, 202);
    const gone = await cluster.meridian("site", "remove", "ap");
    assert.equal(gone.code, 1);
    assert.match(
      gone.stderr,
      /ap does not answer, .*`meridian site expel ap` is for a site that is lost; nothing was changed/,
    );
    assert.match(await meridian(cluster, "site", "expel", "ap"), /ap is expelled.*until it is wiped and added again/);
    for (const pair of ["ap-eu", "ap-us"]) await command(cluster, { command: "link-heal", pair, oneWay: false });
    await until("ap knows", async () => {
      const answer = await cluster.at("ap").call("/readyz");
      return answer.body.toString().includes("site ap is no member of the cluster any more: it was expelled");
    });
    const pull = await cluster.at("ap").call("/v2/app/manifests/kept", { headers: { accept: MANIFEST_TYPE } });
    assert.equal(pull.status, 503);
    assert.match(pull.body.toString(), /it was expelled at policy revision 1\.\d+: use another site/);
    await assert.rejects(cluster.at("ap").push("app", "late", makeImage(1_000)), /503/);
    for (const site of ["eu", "us"])
      for (const tag of ["kept", "only"])
        assert.equal((await cluster.at(site).call(`/v2/app/manifests/${tag}`)).status, 404, `${site} shows ${tag}`);
  });

  test("gives back what only it had, as new writes, when the operator says so", async () => {
    const listed = await meridian(cluster, "site", "salvage", "ap");
    assert.match(listed, /app:only +sha256:\S+ +only there/);
    assert.doesNotMatch(listed, /app:kept/, "the others had copied it, and deleted it");
    assert.equal((await cluster.at("eu").call("/v2/app/manifests/only")).status, 404, "listing puts nothing");
    const moved = makeImage(1_000);
    await cluster.at("us").push("app", "only", moved);
    assert.match(await meridian(cluster, "site", "salvage", "ap", "--put"), /app:only .*left as the cluster has it/);
    assert.equal((await cluster.at("us").pull("app", "only")).digest, moved.digest);
    assert.match(await meridian(cluster, "site", "salvage", "ap", "--put", "--overwrite"), /app:only .*put again/);
    await until("us has it", async () => (await cluster.at("us").pull("app", "only")).digest === image.digest);
    const history = await meridian(cluster, "tag", "history", "app:only", "--json");
    assert.match(history, /"who":"admin"/);
    assert.match(await meridian(cluster, "site", "salvage", "ap"), /in the cluster/);
  });

  test("is added again only without its data, and has everything then", async () => {
    const early = await cluster.meridian("site", "add", "ap");
    assert.equal(early.code, 1);
    assert.match(early.stderr, /ap was expelled: its data would be refused. --wipe throws it away/);
    await meridian(cluster, "site", "add", "ap", "--wipe", "--wait", "--timeout", "90s");
    assert.equal((await cluster.at("ap").pull("app", "only")).digest, image.digest);
    assert.equal((await cluster.at("ap").call("/v2/app/manifests/kept")).status, 404);
    const again = makeImage(100_000);
    await cluster.at("ap").push("app", "again", again);
    await until(
      "eu follows its new log",
      async () => (await cluster.at("eu").pull("app", "again")).digest === again.digest,
    );
  });
});

/** Pushes and pulls without a pause at each site that it was started for; every answer counts. */
class Traffic {
  readonly failures: string[] = [];
  readonly pushed: { repository: string; tag: string; digest: string }[] = [];
  readonly #cluster: DevProcess;
  readonly #running = new Map<string, { stop: boolean; ended: Promise<void>; rounds: number }>();

  constructor(cluster: DevProcess) {
    this.#cluster = cluster;
  }

  start(site: string): void {
    const state = { stop: false, rounds: 0, ended: Promise.resolve() };
    state.ended = this.#run(site, state);
    this.#running.set(site, state);
  }

  /** Ends it at a site, or everywhere; what is under way is finished. */
  async stop(site?: string): Promise<void> {
    for (const [name, state] of this.#running) {
      if (site !== undefined && name !== site) continue;
      state.stop = true;
      await state.ended;
      this.#running.delete(name);
    }
  }

  /** Resolves once each site has done so many rounds more. */
  async rounds(more: number): Promise<void> {
    const wanted = [...this.#running.values()].map((state) => [state, state.rounds + more] as const);
    await until("more rounds", () => wanted.every(([state, rounds]) => state.rounds >= rounds), 60_000);
  }

  async #run(site: string, state: { stop: boolean; rounds: number }): Promise<void> {
    for (; !state.stop; state.rounds++) {
      const image = makeImage(30_000 + state.rounds);
      await this.#round(site, `${site}-${state.rounds}`, image);
    }
  }

  async #round(site: string, tag: string, image: TestImage): Promise<void> {
    const client = this.#cluster.at(site);
    try {
      await client.push("loop/app", tag, image);
      this.pushed.push({ repository: "loop/app", tag, digest: digestOf(image.manifest) });
      await client.pull("loop/app", tag);
      await client.pull("old/app", "v1");
    } catch (error) {
      this.failures.push(`${site}: ${error instanceof Error ? error.message : error}`);
    }
  }
}
