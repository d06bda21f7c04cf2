import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { Topology } from "@meridian/cluster";
import { digestOf } from "@meridian/oci";
import type { CallContext } from "@meridian/rpc";
import { createSystemClock } from "@meridian/runtime";
import { policyV1, siteV1 } from "@meridian/wire";
import type { ImageStates } from "./image-state.ts";
import { createSiteService } from "./site-service.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

const SCOPES = ["kept:pull,push,delete", "free:pull,push,delete", "kept/too:pull,push,delete"];
const admin = bearer("admin", ...SCOPES);
const digest = `sha256:${"a".repeat(64)}`;

describe("a site that a repository is kept from", () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await startTestCluster({ sites: ["eu", "us"] });
    for (const { settings } of cluster.sites) {
      settings.put(create(policyV1.RepositorySettingsSchema, { prefix: "kept", placement: { never: ["us"] } }));
    }
  });
  after(() => cluster[Symbol.asyncDispose]());

  const at = (site: string): string => cluster.sites.find(({ name }) => name === site)!.gateway.url;
  const call = (site: string, method: string, path: string, headers = admin): Promise<Response> =>
    fetch(at(site) + path, { method, headers });

  const REQUESTS = [
    ["GET", "/v2/kept/manifests/latest"],
    ["HEAD", "/v2/kept/manifests/latest"],
    ["GET", `/v2/kept/manifests/${digest}`],
    ["PUT", "/v2/kept/manifests/latest"],
    ["DELETE", `/v2/kept/manifests/${digest}`],
    ["GET", `/v2/kept/blobs/${digest}`],
    ["HEAD", `/v2/kept/blobs/${digest}`],
    ["DELETE", `/v2/kept/blobs/${digest}`],
    ["POST", "/v2/kept/blobs/uploads/"],
    ["POST", `/v2/kept/blobs/uploads/?mount=${digest}&from=free`],
    ["GET", "/v2/kept/tags/list"],
    ["GET", `/v2/kept/referrers/${digest}`],
    ["GET", `/v2/kept/_meridian/route/${digest}`],
    ["GET", "/v2/kept/_meridian/replication/latest"],
    ["GET", "/v2/kept/too/tags/list"],
  ] as const;

  it("answers every request for it with 403, which names the rule and the revision; another site does not", async () => {
    for (const [method, path] of REQUESTS) {
      const refused = await call("us", method, path);
      assert.equal(refused.status, 403, `${method} ${path}`);
      assert.equal(refused.headers.get("meridian-policy-revision"), "1.7", path);
      assert.notEqual((await call("eu", method, path)).status, 403, `${method} ${path} at eu`);
      if (method === "HEAD") continue;
      const { errors } = (await refused.json()) as { errors: { code: string; detail: { policyId: string } }[] };
      assert.deepEqual([errors[0]?.code, errors[0]?.detail.policyId], ["DENIED", "placement/kept"], path);
    }
  });

  it("tells nothing of it to who has not logged in: that comes first", async () => {
    assert.equal((await fetch(`${at("us")}/v2/kept/tags/list`)).status, 401);
    assert.equal((await call("us", "GET", "/v2/kept/tags/list", bearer("nobody", ...SCOPES))).status, 403);
  });

  it("serves what is not kept from it", async () => {
    assert.equal((await call("us", "GET", "/v2/free/tags/list")).status, 404);
    assert.equal((await call("us", "POST", "/v2/free/blobs/uploads/")).status, 202);
  });

  it("is told no records of it by another site", async () => {
    const { catalog, settings } = cluster.sites[0]!;
    const clock = createSystemClock();
    const topology: Topology = { cluster: "c", site: "eu", process: "gateway-1", sites: ["eu", "us"], processes: [] };
    const images: ImageStates = { look: () => Promise.reject(new Error("not asked")) };
    const health = async () => ({ ready: true, checks: [] });
    const service = createSiteService({ topology, catalog, images, settings, health, clock });
    const context = { signal: new AbortController().signal, peer: { site: "us", service: "gateway" } } as CallContext;
    const lookup = async (repository: string): Promise<unknown> =>
      service.lookup(create(siteV1.LookupRequestSchema, { repository, digests: [digest] }), context);
    await assert.rejects(lookup("kept"), { kind: "denied" });
    await lookup("free");
  });

  it("does not get its bytes by a mount into a repository that it may have: the client uploads", async () => {
    const eu = cluster.sites[0]!;
    const bytes = Buffer.from("kept from us");
    const name = digestOf(bytes);
    const pushed = await fetch(`${at("eu")}/v2/kept/blobs/uploads/?digest=${name}`, {
      method: "POST",
      headers: admin,
      body: bytes,
    });
    assert.equal(pushed.status, 201);
    for (const from of ["&from=kept", ""]) {
      const mounted = await call("eu", "POST", `/v2/free/blobs/uploads/?mount=${name}${from}`);
      assert.equal(mounted.status, 202, from);
    }
    assert.equal(eu.catalog.blob("free", name), undefined);
    assert.equal((await call("eu", "POST", `/v2/kept/too/blobs/uploads/?mount=${name}&from=kept`)).status, 201);
  });
});
