import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { digestOf, MediaType } from "@meridian/oci";
import { type Answer, adminOf, ask } from "./http-client.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
before(async () => {
  cluster = await startTestCluster();
});
after(() => cluster[Symbol.asyncDispose]());

const repository = (name: string) => adminOf(cluster.site, name);
const post = (name: string, path: string, body: unknown = {}): Promise<Answer> =>
  repository(name).call("POST", `/_meridian${path}`, { body: JSON.stringify(body) });
const history = async (name: string, tag: string, query = "") =>
  (await repository(name).get(`/_meridian/tags/${tag}/history${query}`)).json<{ history: Write[] }>().history;
const named = async (name: string, tag: string): Promise<unknown> =>
  (await repository(name).head(`/manifests/${tag}`)).headers["docker-content-digest"];

interface Write {
  readonly id: string;
  readonly at: string;
  readonly who: string;
  readonly site: string;
  readonly action: string;
  readonly digest: string | null;
  readonly from: string | null;
  readonly lostTo: unknown;
}

/** Deletes a whole repository; returns how many requests it took. */
async function deleteAll(name: string, n = 100): Promise<{ tags: number; manifests: number; requests: number }> {
  const gone = { tags: 0, manifests: 0, requests: 0 };
  for (let last: string | null = ""; last !== null; ) {
    const query: string = `?n=${n}&last=${encodeURIComponent(last)}`;
    const answer = await repository(name).delete(`/_meridian/repository${query}`);
    assert.equal(answer.status, 200, answer.body.toString());
    const { deleted, next } = answer.json<{ deleted: { tags: number; manifests: number }; next: string | null }>();
    gone.tags += deleted.tags;
    gone.manifests += deleted.manifests;
    gone.requests += 1;
    last = next;
  }
  return gone;
}

describe("the history of a tag", () => {
  test("says who, when, where, from what to what, and comes in pages", async () => {
    const { digest: first } = await repository("history/app").pushImage("v1");
    const { digest: second } = await repository("history/app").pushImage("v1");
    await repository("history/app").delete("/manifests/v1");
    const all = await history("history/app", "v1");
    assert.deepEqual(
      all.map(({ who, site, action, digest, from, lostTo }) => [who, site, action, digest, from, lostTo]),
      [
        ["admin", "eu", "deleted", null, second, null],
        ["admin", "eu", "put", second, first, null],
        ["admin", "eu", "put", first, null, null],
      ],
    );
    for (const { at } of all) assert.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const pages: Write[] = [];
    let path: string | undefined = "/_meridian/tags/v1/history?n=2";
    while (path !== undefined) {
      const answer: Answer = await repository("history/app").get(path);
      pages.push(...answer.json<{ history: Write[] }>().history);
      path = /^<\/v2\/history\/app([^>]+)>; rel="next"$/.exec(String(answer.headers.link))?.[1];
    }
    assert.deepEqual(pages, all);
  });

  test("is for those who may pull", async () => {
    const path = "/v2/history/app/_meridian/tags/v1/history";
    assert.equal((await ask(cluster.site.gateway.url, "GET", path)).status, 401);
    const headers = bearer("stranger", "history/app:pull");
    assert.equal((await ask(cluster.site.gateway.url, "GET", path, { headers })).status, 403);
  });
});

describe("restoring", () => {
  test("a deleted tag puts again what it named, as a write of now", async () => {
    const { digest } = await repository("restore/tag").pushImage("v1");
    await repository("restore/tag").delete("/manifests/v1");
    const answer = await post("restore/tag", "/tags/v1/restore");
    assert.equal(answer.status, 200, answer.body.toString());
    assert.deepEqual(answer.json(), { repository: "restore/tag", tag: "v1", digest, from: null, changed: true });
    assert.equal(await named("restore/tag", "v1"), digest);
    assert.equal((await history("restore/tag", "v1"))[0]?.action, "restored");
  });

  test("goes to a digest, to a time, or one write back", async () => {
    const app = repository("restore/back");
    const pushed = [await app.pushImage("v1"), await app.pushImage("v1"), await app.pushImage("v1")];
    const [first, second, third] = pushed.map(({ digest }) => digest);
    await post("restore/back", "/tags/v1/restore");
    assert.equal(await named("restore/back", "v1"), second);
    const writes = await history("restore/back", "v1");
    const atThird = writes.find(({ digest }) => digest === third)!.at;
    await post("restore/back", "/tags/v1/restore", { to: first });
    assert.equal(await named("restore/back", "v1"), first);
    await post("restore/back", "/tags/v1/restore", { before: atThird });
    assert.equal(await named("restore/back", "v1"), second);
    const same = await post("restore/back", "/tags/v1/restore", { to: second });
    assert.equal(same.json<{ changed: boolean }>().changed, false, "what it names already is not written again");
  });

  test("brings back what was deleted with it: manifests, children, all of a repository", async () => {
    const app = repository("restore/all");
    const { digest: child, manifest, layer } = await app.pushImage("child");
    const index = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MediaType.ociIndex,
        manifests: [{ mediaType: MediaType.ociManifest, digest: child, size: manifest.length }],
      }),
    );
    assert.equal((await app.putManifest("index", index, {}, MediaType.ociIndex)).status, 201);
    assert.deepEqual(await deleteAll("restore/all"), { tags: 2, manifests: 2, requests: 3 });
    for (const reference of ["index", "child", child, digestOf(index)])
      assert.equal((await app.get(`/manifests/${reference}`)).status, 404, reference);
    const listed = await app.get("/_meridian/deleted");
    assert.deepEqual(listed.json<{ tags: unknown }>().tags, [
      { tag: "child", digest: child },
      { tag: "index", digest: digestOf(index) },
    ]);
    const { next } = listed.json<{ next: string }>();
    const manifests = (await app.get(`/_meridian/deleted?last=${next}`)).json<{ manifests: string[] }>().manifests;
    assert.deepEqual(manifests, [child, digestOf(index)].toSorted());
    assert.equal((await post("restore/all", "/tags/index/restore")).status, 200);
    assert.deepEqual((await app.get("/manifests/index")).body, index);
    assert.deepEqual((await app.get(`/manifests/${child}`)).body, manifest);
    assert.equal((await app.get(`/blobs/${layer}`)).status, 200);
    assert.equal((await app.get("/manifests/child")).status, 404, "only what was asked for comes back");
  });

  test("a deleted manifest by its digest", async () => {
    const app = repository("restore/manifest");
    const { digest, manifest } = await app.pushImage("v1");
    await app.delete(`/manifests/${digest}`);
    assert.equal((await app.get(`/manifests/${digest}`)).status, 404);
    const answer = await post("restore/manifest", `/manifests/${digest}/restore`);
    assert.equal(answer.status, 200, answer.body.toString());
    assert.deepEqual((await app.get(`/manifests/${digest}`)).body, manifest);
    assert.equal((await app.get("/manifests/v1")).status, 404, "its tags were deleted by themselves");
  });

  test("says what is gone for good, and changes nothing then", async () => {
    const app = repository("restore/gone");
    const { digest, layer } = await app.pushImage("v1");
    await app.delete(`/manifests/${digest}`);
    await app.delete(`/blobs/${layer}`);
    const { catalog, nodes } = cluster.site;
    await catalog.commit([{ kind: "blob-at-node", digest: layer, node: nodes[0]!.name, size: 0, state: "absent" }]);
    const answer = await post("restore/gone", "/tags/v1/restore");
    assert.equal(answer.status, 409);
    assert.match(answer.body.toString(), new RegExp(`the bytes of ${layer} are gone`));
    assert.equal(await named("restore/gone", "v1"), undefined);
  });

  test("knows only what the tag named, and takes either a digest or a time", async () => {
    const app = repository("restore/unknown");
    const { digest } = await app.pushImage("v1");
    const cases: [string, unknown, number][] = [
      ["/tags/v1/restore", { to: digestOf("never pushed") }, 404],
      ["/tags/v1/restore", { before: "2001-01-01T00:00:00Z" }, 404],
      ["/tags/v1/restore", {}, 404],
      ["/tags/v2/restore", {}, 404],
      ["/tags/v1/restore", { to: digest, before: "2001-01-01T00:00:00Z" }, 400],
      ["/tags/v1/restore", { before: "yesterday" }, 400],
      [`/manifests/${digestOf("never pushed")}/restore`, {}, 404],
    ];
    for (const [path, body, status] of cases)
      assert.equal((await post("restore/unknown", path, body)).status, status, `${path} ${JSON.stringify(body)}`);
  });

  test("needs the right to push", async () => {
    cluster.site.grants.set("reader", new Set(["pull"]));
    const headers = bearer("reader", "restore/tag:pull,push");
    for (const path of ["tags/v1", `manifests/${digestOf("any")}`]) {
      const url = `/v2/restore/tag/_meridian/${path}/restore`;
      assert.equal((await ask(cluster.site.gateway.url, "POST", url, { headers, body: "{}" })).status, 403);
    }
  });
});

describe("deleting a repository", () => {
  test("goes in batches, by each tag and manifest, and says how many", async () => {
    const app = repository("delete/batches");
    const { manifest, digest } = await app.pushImage("t0");
    for (let index = 1; index < 7; index += 1) await app.putManifest(`t${index}`, manifest);
    for (let index = 0; index < 4; index += 1) await app.pushImage(`u${index}`);
    const gone = await deleteAll("delete/batches", 3);
    assert.deepEqual([gone.tags, gone.manifests], [11, 5]);
    assert.ok(gone.requests > 5);
    assert.deepEqual((await app.get("/tags/list")).json<{ tags: string[] }>().tags, []);
    assert.equal((await app.get(`/manifests/${digest}`)).status, 404);
  });

  test("needs the right to delete, and a repository", async () => {
    cluster.site.grants.set("pusher", new Set(["pull", "push"]));
    const headers = bearer("pusher", "delete/batches:pull,push,delete");
    const url = "/v2/delete/batches/_meridian/repository";
    assert.equal((await ask(cluster.site.gateway.url, "DELETE", url, { headers })).status, 403);
    assert.equal((await repository("delete/nothing").delete("/_meridian/repository")).status, 404);
  });
});
