import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { policyV1 } from "@meridian/wire";
import { ask } from "./http-client.fixture.ts";
import { bearer, startTestCluster } from "./test-cluster.fixture.ts";

test("who may pull sees what holds for a repository, and which prefix says so", async () => {
  await using cluster = await startTestCluster();
  const { site } = cluster;
  const path = "/v2/apps/web/_meridian/settings";
  const get = (headers: Record<string, string>) => ask(site.gateway.url, "GET", path, { headers });
  site.settings.put(create(policyV1.RepositorySettingsSchema, { prefix: "apps", tags: { home: "us" } }));
  site.grants.set("reader", new Set(["pull"]));
  const answer = await get(bearer("reader", "apps/web:pull"));
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.json(), {
    repository: "apps/web",
    revision: "1.7",
    settings: { tags: { value: "home:us", prefix: "apps" } },
  });
  assert.equal((await get({})).status, 401);
  assert.equal((await get(bearer("stranger", "apps/web:pull"))).status, 403);
});
