import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { digestOf, isContentError } from "@meridian/oci";
import { siteV1 } from "@meridian/wire";
import { adminOf, ask, manifestOf } from "./http-client.fixture.ts";
import { bearer, startTestCluster, type TestCluster, type TestSite } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
let eu: TestSite;
let us: TestSite;
const content = randomBytes(300_000);

before(async () => {
  cluster = await startTestCluster({ sites: ["eu", "us", "ap"], config: { transientWaitMs: 500 } });
  [eu, us] = cluster.sites as [TestSite, TestSite];
});
after(() => cluster[Symbol.asyncDispose]());

describe("what this site has not heard of yet", () => {
  test("is pulled by digest after asking the other sites, and stored on the way", async () => {
    const { digest, manifest, layer } = await adminOf(us, "far/app").pushImage("v1", content);
    const here = adminOf(eu, "far/app");
    assert.deepEqual((await here.get(`/manifests/${digest}`)).body, manifest);
    const first = await here.get(`/blobs/${layer}`);
    assert.deepEqual(first.body, content);
    assert.equal(first.headers["meridian-served-by"], "us/blob-node-1");
    assert.equal(first.headers["meridian-route"], "stream");
    const second = await here.get(`/blobs/${layer}`);
    assert.equal(second.headers["meridian-served-by"], "eu/blob-node-1");
    assert.equal(second.headers["meridian-route"], "local");
  });

  test("may be what a manifest references that is pushed here", async () => {
    const there = adminOf(us, "split/app");
    const layer = await there.pushBlob(Buffer.from("layer"));
    const here = adminOf(eu, "split/app");
    const config = await here.pushBlob(Buffer.from("{}"));
    const pushed = await here.putManifest("v1", manifestOf(config, [{ digest: layer, size: 5 }]));
    assert.equal(pushed.status, 201);
    assert.equal((await here.get(`/blobs/${layer}`)).status, 200);
  });

  test("is 404 with a Warning that names who could not be asked", async () => {
    eu.health.set("us", "suspect");
    const answer = await adminOf(eu, "far/app").get(`/blobs/${digestOf("nobody has this")}`);
    eu.health.clear();
    assert.equal(answer.status, 404);
    assert.match(String(answer.headers.warning), /^299 - "site us could not be asked/);
  });

  test("may be newer than what a name says here, which a Warning tells while a site is down", async () => {
    const here = adminOf(eu, "behind/app");
    const { digest } = await here.pushImage("v1");
    const byName = ["/manifests/v1", "/manifests/absent", "/tags/list", `/referrers/${digest}`];
    const warnings = () => Promise.all(byName.map(async (path) => (await here.get(path)).headers.warning));
    assert.deepEqual(new Set(await warnings()), new Set([undefined]));
    eu.health.set("us", "down");
    const told = await warnings();
    const byDigest = await here.get(`/manifests/${digest}`);
    eu.health.clear();
    for (const warning of told) assert.match(String(warning), /^299 - "site eu cannot reach us: [ -~]+"$/);
    assert.equal(byDigest.headers.warning, undefined);
  });

  test("is 503 for a push that references it while a site could not be asked", async () => {
    const here = adminOf(eu, "split/app");
    const config = await here.pushBlob(Buffer.from("{}"));
    const manifest = manifestOf(config, [{ digest: digestOf("maybe at us"), size: 5 }]);
    eu.health.set("us", "down");
    const answer = await here.putManifest("v2", manifest);
    eu.health.clear();
    assert.equal(answer.status, 503);
  });

  test("is not asked for by a HEAD of a blob", async () => {
    const layer = await adminOf(us, "head/app").pushBlob(Buffer.from("only at us"));
    assert.equal((await adminOf(eu, "head/app").head(`/blobs/${layer}`)).status, 404);
    assert.equal((await adminOf(eu, "head/app").get(`/blobs/${layer}`)).status, 200);
  });
});

describe("a manifest by HEAD", () => {
  test("is told by its record, without its bytes, and like the GET after it", async () => {
    const { digest, manifest } = await adminOf(us, "told/app").pushImage("v1", randomBytes(10));
    const here = adminOf(eu, "told/app");
    const told = await here.head(`/manifests/${digest}`);
    assert.equal(told.headers["meridian-route"], "records");
    const read = await here.get(`/manifests/${digest}`);
    assert.equal(read.headers["meridian-route"], "stream");
    assert.deepEqual(read.body, manifest);
    for (const name of ["content-type", "content-length", "docker-content-digest", "etag", "cache-control"]) {
      assert.equal(told.headers[name], read.headers[name], name);
    }
    assert.equal(told.headers["content-length"], String(manifest.length));
    const fresh = await here.head(`/manifests/${digest}`, { "if-none-match": String(told.headers.etag) });
    assert.equal(fresh.status, 304);
  });

  test("is 503 where no holder is within reach, as its GET is", async () => {
    const { digest } = await adminOf(us, "told/app").pushImage("v2", randomBytes(10));
    const here = adminOf(eu, "told/app");
    assert.equal((await here.head(`/manifests/${digest}`)).status, 200);
    eu.health.set("us", "down");
    const [node] = us.nodes;
    node!.down = true;
    const answers = await Promise.all([here.head(`/manifests/${digest}`), here.get(`/manifests/${digest}`)]);
    node!.down = false;
    eu.health.clear();
    assert.deepEqual(
      answers.map(({ status }) => status),
      [503, 503],
    );
  });
});

describe("a source that fails", () => {
  test("in the middle of an answer is replaced within it", async () => {
    const { layer } = await adminOf(us, "fail/app").pushImage("v1", content);
    const here = adminOf(eu, "fail/app");
    await here.get(`/blobs/${layer}`);
    const [node] = eu.nodes;
    node!.sent = 0;
    node!.dieAfter = 100_000;
    const answer = await here.get(`/blobs/${layer}`);
    Object.assign(node!, { down: false, dieAfter: undefined });
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, content);
  });

  test("and comes back goes on with the same answer", async () => {
    const other = randomBytes(300_000);
    const { layer } = await adminOf(eu, "restart/app").pushImage("v1", other);
    const [node] = eu.nodes;
    node!.sent = 0;
    node!.dieAfter = 100_000;
    const answering = adminOf(eu, "restart/app").get(`/blobs/${layer}`);
    while (!node!.down) await new Promise((resolve) => setImmediate(resolve));
    Object.assign(node!, { down: false, dieAfter: undefined });
    assert.deepEqual((await answering).body, other);
  });

  test("before the first byte, with nobody else, is 503", async () => {
    const { layer } = await adminOf(eu, "lost/app").pushImage("v1", randomBytes(1000));
    eu.nodes[0]!.down = true;
    const answer = await adminOf(eu, "lost/app").get(`/blobs/${layer}`);
    eu.nodes[0]!.down = false;
    assert.deepEqual([answer.status, answer.code], [503, "UNAVAILABLE"]);
    assert.ok(answer.headers["retry-after"]);
  });

  test("by losing its copy after it answered, with nobody else, is 503: what is linked is never unknown", async () => {
    const there = adminOf(us, "fail/lost");
    const { layer } = await there.pushImage("v1", randomBytes(300_000));
    const [node] = us.nodes;
    node!.losing = true;
    const answer = await there.get(`/blobs/${layer}`);
    node!.losing = false;
    assert.equal(answer.status, 503);
  });

  test("by sending wrong bytes from another site is cut off before the end, and not asked again", async () => {
    const { layer } = await adminOf(us, "rotten/app").pushImage("v1", randomBytes(600_000));
    const here = adminOf(eu, "rotten/app");
    eu.nodes[0]!.down = true;
    us.nodes[0]!.rotten = true;
    await assert.rejects(here.get(`/blobs/${layer}`));
    const sent = us.nodes[0]!.sent;
    assert.equal((await here.get(`/blobs/${layer}`)).status, 503);
    assert.equal(us.nodes[0]!.sent, sent);
    us.nodes[0]!.rotten = false;
    eu.nodes[0]!.down = false;
    assert.equal((await here.get(`/blobs/${layer}`)).status, 200);
  });

  test("by having a wrong manifest itself is passed over for another site", async () => {
    const { digest, manifest } = await adminOf(us, "rotten/manifest").pushImage("v1");
    const [node] = eu.nodes;
    await node!.bytes.open(digest, { holders: ["us/blob-node-1"] });
    assert.ok(await node!.store.stat(digest));
    node!.rotten = true;
    const answer = await adminOf(eu, "rotten/manifest").get(`/manifests/${digest}`);
    node!.rotten = false;
    assert.deepEqual(answer.body, manifest);
    assert.equal(answer.headers["meridian-served-by"], "us/blob-node-1");
  });

  test("by sending wrong bytes of a small blob is an error answer", async () => {
    const { layer } = await adminOf(us, "rotten/small").pushImage("v1", randomBytes(1_000));
    eu.nodes[0]!.down = true;
    us.nodes[0]!.rotten = true;
    const answer = await adminOf(eu, "rotten/small").get(`/blobs/${layer}`);
    us.nodes[0]!.rotten = false;
    eu.nodes[0]!.down = false;
    assert.deepEqual([answer.status, answer.code], [503, "UNAVAILABLE"]);
  });

  test("a HEAD of a blob whose only holders are down is 404", async () => {
    const { digest, layer } = await adminOf(us, "down/app").pushImage("v1", randomBytes(1000));
    const here = adminOf(eu, "down/app");
    await here.get(`/manifests/${digest}`);
    assert.equal((await here.head(`/blobs/${layer}`)).status, 200);
    eu.health.set("us", "down");
    const answer = await here.head(`/blobs/${layer}`);
    eu.health.clear();
    assert.equal(answer.status, 404);
  });
});

describe("an upload session of another site", () => {
  test("goes on through this one", async () => {
    const there = adminOf(us, "proxied/app");
    const location = String((await there.call("POST", "/blobs/uploads/")).headers.location);
    const session = location.slice("/v2/proxied/app".length);
    const here = adminOf(eu, "proxied/app");
    const patched = await here.call("PATCH", session, { body: content });
    assert.deepEqual([patched.status, patched.headers.range], [202, `0-${content.length - 1}`]);
    const pushed = await here.call("PUT", `${session}?digest=${digestOf(content)}`);
    assert.equal(pushed.status, 201);
    assert.equal(pushed.headers["meridian-site"], "us");
    assert.deepEqual((await there.get(`/blobs/${digestOf(content)}`)).body, content);
  });

  test("needs a token here too", async () => {
    const there = adminOf(us, "proxied/app");
    const location = String((await there.call("POST", "/blobs/uploads/")).headers.location);
    assert.equal((await ask(eu.gateway.url, "GET", location)).status, 401);
  });
});

describe("a version token", () => {
  test("of this state or an older one is shown at once", async () => {
    const { pushed } = await adminOf(eu, "version/app").pushImage("v1");
    const version = String(pushed.headers["meridian-version"]);
    const answer = await adminOf(eu, "version/app").get("/manifests/v1", { "meridian-min-version": version });
    assert.equal(answer.status, 200);
  });

  test("of a state that does not come is 503, never older", async () => {
    const { pushed } = await adminOf(us, "version/far").pushImage("v1");
    const version = String(pushed.headers["meridian-version"]);
    await adminOf(eu, "version/far").pushImage("v1");
    const answer = await adminOf(eu, "version/far").get("/manifests/v1", { "meridian-min-version": version });
    assert.equal(answer.status, 503);
  });

  test("that is malformed is 400", async () => {
    const answer = await adminOf(eu, "version/app").get("/manifests/v1", { "meridian-min-version": "!!" });
    assert.equal(answer.status, 400);
  });
});

describe("a replication receipt", () => {
  interface Receipt {
    readonly sites: {
      name: string;
      state: string;
      blobsPresent: number;
      blobsTotal: number;
      bytes: number;
      etaMs: number | null;
    }[];
  }

  test("tells what each site holds", async () => {
    const { layer } = await adminOf(us, "receipt/app").pushImage("v1", content);
    const answer = await adminOf(us, "receipt/app").get("/_meridian/replication/v1");
    assert.equal(answer.status, 200);
    const states = Object.fromEntries(answer.json<Receipt>().sites.map((site) => [site.name, site.state]));
    assert.deepEqual(states, { eu: "absent", us: "complete", ap: "absent" });
    const line = answer.json<Receipt>().sites.find(({ name }) => name === "us")!;
    assert.deepEqual([line.blobsPresent, line.blobsTotal, line.etaMs], [3, 3, 0]);
    assert.ok(line.bytes > content.length);
    assert.ok(layer);
  });

  test("names sites that cannot be reached", async () => {
    us.health.set("ap", "down");
    const answer = await adminOf(us, "receipt/app").get("/_meridian/replication/v1");
    us.health.clear();
    assert.equal(answer.json<Receipt>().sites.find(({ name }) => name === "ap")?.state, "unreachable");
  });

  test("that waits is 504 with the same body when the time is over", async () => {
    const answer = await adminOf(us, "receipt/app").get("/_meridian/replication/v1?wait=ap&timeout=200ms");
    assert.equal(answer.status, 504);
    assert.equal(answer.json<Receipt>().sites.length, 3);
  });

  test("that waits is 200 once the sites are complete", async () => {
    const waiting = adminOf(us, "receipt/app").get("/_meridian/replication/v1?wait=us&timeout=5s");
    assert.equal((await waiting).status, 200);
  });

  for (const query of ["wait=nowhere", "wait=us&timeout=soon", "wait=us&timeout=99m"]) {
    test(`with ${query} is 400`, async () => {
      assert.equal((await adminOf(us, "receipt/app").get(`/_meridian/replication/v1?${query}`)).status, 400);
    });
  }
});

describe("the route explanation", () => {
  test("names the candidates, the one chosen and why", async () => {
    const { layer } = await adminOf(us, "route/app").pushImage("v1", content);
    const answer = await adminOf(us, "route/app").get(`/_meridian/route/${layer}`);
    const route = answer.json<{
      site: string;
      chosen: string;
      candidates: { site: string; node: string; reasons: string[] }[];
    }>();
    assert.deepEqual([route.site, route.chosen], ["us", "us/blob-node-1"]);
    assert.equal(route.candidates[0]?.node, "blob-node-1");
    assert.ok(route.candidates[0]?.reasons.length);
  });

  test("says where from when sites are lost, and refuses strangers", async () => {
    const here = adminOf(us, "route/lost");
    const { layer } = await here.pushImage("v1", randomBytes(300_000));
    await adminOf(eu, "route/lost").get(`/blobs/${layer}`);
    const chosen = async (query: string): Promise<string | null> =>
      (await here.get(`/_meridian/route/${layer}${query}`)).json<{ chosen: string | null }>().chosen;
    assert.equal(await chosen(""), "us/blob-node-1");
    const without = (await here.get(`/_meridian/route/${layer}?without=us`)).json<{
      candidates: { site: string; excluded: boolean; reasons: string[] }[];
    }>();
    const lost = without.candidates.filter(({ site }) => site === "us");
    assert.ok(lost.length > 0 && lost.every(({ excluded }) => excluded));
    assert.match(lost[0]?.reasons.join() ?? "", /counts as lost/);
    assert.equal(await chosen("?without=*"), null);
    assert.equal((await here.get(`/_meridian/route/${layer}?without=mars`)).status, 400);
  });
});

test("the status lists the sites as this one sees them", async () => {
  eu.health.set("ap", "suspect");
  const answer = await ask(eu.gateway.url, "GET", "/v2/_meridian/status", { headers: bearer("admin") });
  eu.health.clear();
  const states = answer
    .json<{ sites: { name: string; state: string }[] }>()
    .sites.map(({ name, state }) => `${name} ${state}`);
  assert.deepEqual(states, ["eu live", "us live", "ap suspect"]);
  const { sites } = answer.json<{ sites: { name: string; gateways: string[] }[] }>();
  assert.deepEqual(sites.find(({ name }) => name === "eu")?.gateways, [eu.gateway.url]);
});

test("other sites' questions are bounded", async () => {
  const asking = cluster.client(siteV1.SiteService, "eu").lookup({ repository: "Bad Name", digests: [] });
  await assert.rejects(asking, (error) => isContentError(error, "invalid"));
});
