import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { digestOf, MediaType } from "@meridian/oci";
import { type Answer, adminOf, ask } from "./http-client.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
const admin = () => adminOf(cluster.site, "team/app");
const names = ["Z", "a", "a-1", "b", "v1", "v10", "v2"];
let subject: Awaited<ReturnType<ReturnType<typeof adminOf>["pushImage"]>>;

before(async () => {
  cluster = await startTestCluster();
  subject = await admin().pushImage("v1");
  for (const name of names) await admin().putManifest(name, subject.manifest);
});
after(() => cluster[Symbol.asyncDispose]());

const tagsOf = (answer: Answer): string[] => answer.json<{ tags: string[] }>().tags;

describe("the list of tags", () => {
  test("is in ASCII order", async () => {
    const answer = await admin().get("/tags/list");
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.json(), { name: "team/app", tags: names });
    assert.equal(answer.headers.link, undefined);
  });

  test("comes in pages that lead on by path-absolute links", async () => {
    const seen: string[] = [];
    let path: string | undefined = "/v2/team/app/tags/list?n=3";
    while (path !== undefined) {
      const answer = await admin().get(path.slice("/v2/team/app".length));
      seen.push(...tagsOf(answer));
      path = /^<(\/v2\/[^>]+)>; rel="next"$/.exec(String(answer.headers.link))?.[1];
    }
    assert.deepEqual(seen, names);
  });

  test("begins after last, which need not exist", async () => {
    assert.deepEqual(tagsOf(await admin().get("/tags/list?last=a-2&n=2")), ["b", "v1"]);
    const long = "b".repeat(5_000);
    assert.deepEqual(tagsOf(await admin().get(`/tags/list?last=${long}`)), names.slice(names.indexOf("b") + 1));
  });

  test("of n=0 is empty", async () => {
    assert.deepEqual(tagsOf(await admin().get("/tags/list?n=0")), []);
  });

  for (const n of ["x", "-1", "1e3"]) {
    test(`of n=${n} is 400`, async () => assert.equal((await admin().get(`/tags/list?n=${n}`)).status, 400));
  }

  test("of an unknown repository is NAME_UNKNOWN", async () => {
    assert.equal((await adminOf(cluster.site, "no/such").get("/tags/list")).code, "NAME_UNKNOWN");
  });
});

describe("the catalogue of repositories", () => {
  const list = (query = "", headers = bearer("admin", "registry:catalog:*")) =>
    ask(cluster.site.gateway.url, "GET", `/v2/_catalog${query}`, { headers });

  before(async () => {
    for (const name of ["a/one", "b/two", "c/three"]) await adminOf(cluster.site, name).pushImage("v1");
  });

  // The test verifier reads "registry:catalog:*" as the scope "registry:catalog" with the action "*".
  test("lists what the caller may pull", async () => {
    cluster.site.grants.set("carol", new Set(["catalog", "b/two:pull"]));
    const answer = await list("", bearer("carol", "registry:catalog:*"));
    assert.deepEqual(answer.json(), { repositories: ["b/two"] });
  });

  test("comes in pages", async () => {
    const first = await list("?n=2");
    assert.deepEqual(first.json(), { repositories: ["a/one", "b/two"] });
    const next = /<\/v2\/_catalog(\?[^>]+)>/.exec(String(first.headers.link))![1];
    assert.deepEqual((await list(next)).json(), { repositories: ["c/three", "team/app"] });
  });

  test("needs its own scope", async () => {
    const answer = await list("", bearer("admin", "team/app:pull"));
    assert.equal(answer.status, 401);
    assert.match(String(answer.headers["www-authenticate"]), /scope="registry:catalog:\*"/);
  });
});

describe("the list of referrers", () => {
  const INDEX = "application/vnd.oci.image.index.v1+json";
  const descriptor = () => ({
    mediaType: MediaType.ociManifest,
    digest: subject.digest,
    size: subject.manifest.length,
  });

  before(async () => {
    await admin().pushImage("sbom", Buffer.from("sbom"), {
      subject: descriptor(),
      artifactType: "application/spdx+json",
      annotations: { by: "scanner" },
    });
    await admin().pushImage("sig", Buffer.from("sig"), { subject: descriptor(), artifactType: "application/sig" });
  });

  const referrers = (query = "") => admin().get(`/referrers/${subject.digest}${query}`);
  const manifests = (answer: Answer) => answer.json<{ manifests: Record<string, unknown>[] }>().manifests;

  test("is an index of what names the subject", async () => {
    const answer = await referrers();
    assert.equal(answer.headers["content-type"], INDEX);
    assert.deepEqual(
      manifests(answer)
        .map(({ artifactType }) => artifactType)
        .sort(),
      ["application/sig", "application/spdx+json"],
    );
  });

  test("filters by artifact type, and says so", async () => {
    const answer = await referrers("?artifactType=application/spdx%2Bjson");
    assert.equal(answer.headers["oci-filters-applied"], "artifactType");
    const [only, ...rest] = manifests(answer);
    assert.deepEqual(rest, []);
    assert.deepEqual(only?.annotations, { by: "scanner" });
    assert.equal(only?.mediaType, MediaType.ociManifest);
  });

  test("tells annotations that are too large for a record", async () => {
    const annotations = { text: "é".repeat(60_000) };
    const image = await admin().pushImage("of-large");
    const named = { mediaType: MediaType.ociManifest, digest: image.digest, size: image.manifest.length };
    const { pushed } = await admin().pushImage("large", Buffer.from("large"), { subject: named, annotations });
    assert.equal(pushed.status, 201);
    const [only] = manifests(await admin().get(`/referrers/${image.digest}`));
    assert.deepEqual(only?.annotations, annotations);
  });

  test("beyond 4 MiB comes in pages that lead on, each entry whole and once", async () => {
    const image = await admin().pushImage("of-many");
    const named = { mediaType: MediaType.ociManifest, digest: image.digest, size: image.manifest.length };
    const wanted = new Set<string>();
    for (let i = 0; i < 6; i++) {
      const annotations = { text: String(i).repeat(1_000_000) };
      const extra = { subject: named, annotations, artifactType: "application/x+y" };
      wanted.add((await admin().pushImage(`many-${i}`, Buffer.from("many"), extra)).digest);
    }
    const seen: string[] = [];
    let path: string | undefined = `/v2/team/app/referrers/${image.digest}?artifactType=application/x%2By`;
    let pages = 0;
    while (path !== undefined) {
      const answer = await admin().get(path.slice("/v2/team/app".length));
      assert.ok(answer.body.length <= 4 * 1024 * 1024);
      assert.equal(answer.headers["oci-filters-applied"], "artifactType");
      for (const { digest, annotations } of manifests(answer)) {
        seen.push(String(digest));
        assert.equal((annotations as { text: string }).text.length, 1_000_000);
      }
      pages += 1;
      path = /^<(\/v2\/[^>]+)>; rel="next"$/.exec(String(answer.headers.link))?.[1];
    }
    assert.equal(pages, 2);
    assert.deepEqual(seen.sort(), [...wanted].sort());
  });

  test("of an unknown subject is empty", async () => {
    const answer = await admin().get(`/referrers/${digestOf("unknown")}`);
    assert.equal(answer.status, 200);
    assert.deepEqual(manifests(answer), []);
  });

  test("of a malformed digest is DIGEST_INVALID", async () => {
    assert.equal((await admin().get("/referrers/sha256:x")).code, "DIGEST_INVALID");
  });
});
