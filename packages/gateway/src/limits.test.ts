import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { describe, test } from "node:test";
import { type LimitStore, type LimitsConfig, limitsConfigSchema, openLimitStore } from "@meridian/limits";
import { needsRedis, RedisServer } from "@meridian/limits/contract";
import { digestOf } from "@meridian/oci";
import { createLogger, createSystemClock, systemTimers } from "@meridian/runtime";
import type { z } from "zod";
import { type Answer, adminOf, ask } from "./http-client.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

/** So slow that nothing comes back while a test runs. */
const FEW = { perSecond: 0.01, burst: 3 };
const NAME = "team/app";

function limited(limits: z.input<typeof limitsConfigSchema>): { config: { limits: LimitsConfig } } {
  return { config: { limits: limitsConfigSchema.parse({ exempt: [], ...limits }) } };
}

function isRefused(answer: Answer, message: RegExp): void {
  assert.deepEqual([answer.status, answer.code], [429, "TOOMANYREQUESTS"], answer.body.toString());
  assert.ok(Number(answer.headers["retry-after"]) >= 1, `Retry-After: ${answer.headers["retry-after"]}`);
  assert.match(answer.body.toString(), message);
}

const list = (cluster: TestCluster, user: string): Promise<Answer> =>
  ask(cluster.site.gateway.url, "GET", `/v2/${NAME}/tags/list`, { headers: bearer(user, `${NAME}:pull`) });

async function allowed(count: number, request: () => Promise<Answer>): Promise<void> {
  for (let n = 0; n < count; n++) assert.notEqual((await request()).status, 429, `request ${n + 1}`);
}

describe("a limit of requests", () => {
  test("of one user is that user's alone, also with a body, which is told 503", async () => {
    await using cluster = await startTestCluster(limited({ requests: { perIdentity: FEW } }));
    cluster.site.grants.set("eve", new Set(["pull"]));
    await allowed(3, () => list(cluster, "admin"));
    isRefused(await list(cluster, "admin"), /of this user/);
    const pushed = await adminOf(cluster.site, NAME).call("POST", "/blobs/uploads/?digest=x", { body: "body" });
    assert.deepEqual([pushed.status, pushed.code], [503, "UNAVAILABLE"]);
    assert.ok(Number(pushed.headers["retry-after"]) >= 1);
    await allowed(3, () => list(cluster, "eve"));
  });

  test("without a login counts bad tokens and challenges, and nobody else", async () => {
    await using cluster = await startTestCluster(limited({ requests: { anonymous: FEW } }));
    const { url } = cluster.site.gateway;
    const challenged = await ask(url, "GET", "/v2/");
    assert.equal(challenged.status, 401);
    const bad = await ask(url, "GET", `/v2/${NAME}/tags/list`, { headers: { authorization: "Bearer bad" } });
    assert.equal(bad.status, 401);
    await allowed(1, () => ask(url, "GET", `/v2/${NAME}/tags/list`));
    isRefused(await ask(url, "GET", `/v2/${NAME}/tags/list`), /without a login/);
    isRefused(await ask(url, "GET", "/v2/"), /without a login/);
    assert.notEqual((await list(cluster, "admin")).status, 429);
  });

  test("of one address counts everything but health", async () => {
    await using cluster = await startTestCluster(limited({ requests: { perAddress: FEW } }));
    await allowed(2, () => list(cluster, "admin"));
    await allowed(1, () => ask(cluster.site.gateway.url, "GET", "/v2/"));
    isRefused(await list(cluster, "admin"), /from this address/);
    for (let n = 0; n < 5; n++) assert.equal((await ask(cluster.site.gateway.url, "GET", "/livez")).status, 200);
  });

  test("of tokens is answered before an auth is asked", async () => {
    let asked = 0;
    const auth = () => ({
      issueToken: async () => {
        asked += 1;
        return { token: "t", expiresIn: 300, refreshToken: "" };
      },
    });
    await using cluster = await startTestCluster({ ...limited({ tokens: FEW }), auth });
    const { url } = cluster.site.gateway;
    await allowed(3, () => ask(url, "GET", "/token?service=x"));
    isRefused(await ask(url, "GET", "/token?service=x"), /logins/);
    assert.equal(asked, 3);
  });

  test("is not for exempt addresses, which loopback is unless told otherwise", async () => {
    const limits = limitsConfigSchema.parse({
      requests: { perIdentity: FEW, anonymous: FEW, perAddress: FEW },
      tokens: FEW,
      uploads: { perIdentity: 1 },
    });
    const auth = () => ({ issueToken: async () => ({ token: "t", expiresIn: 300, refreshToken: "" }) });
    await using cluster = await startTestCluster({ config: { limits }, auth });
    const { url } = cluster.site.gateway;
    await allowed(10, () => list(cluster, "admin"));
    await allowed(10, () => ask(url, "GET", "/v2/"));
    await allowed(10, () => ask(url, "GET", "/token"));
    await allowed(5, () => adminOf(cluster.site, NAME).call("POST", "/blobs/uploads/"));
  });
});

describe("the limit of uploads under way", () => {
  const begin = (cluster: TestCluster) => adminOf(cluster.site, NAME).call("POST", "/blobs/uploads/");
  const session = (answer: Answer): string => String(answer.headers.location).slice(`/v2/${NAME}`.length);

  test("frees a place by commit, cancel and time; a silent upload can still be resumed", async () => {
    const uploads = { perIdentity: 2, leaseMs: 1_500 };
    await using cluster = await startTestCluster(limited({ uploads }));
    const admin = adminOf(cluster.site, NAME);
    const first = await begin(cluster);
    const second = await begin(cluster);
    assert.deepEqual([first.status, second.status], [202, 202]);
    isRefused(await begin(cluster), /2 uploads of this user are under way/);
    const eve = bearer("eve", `${NAME}:pull,push`);
    cluster.site.grants.set("eve", new Set(["pull", "push"]));
    const other = await ask(cluster.site.gateway.url, "POST", `/v2/${NAME}/blobs/uploads/`, { headers: eve });
    assert.equal(other.status, 202, "another user has places of her own");

    const content = randomBytes(1000);
    const whole = await admin.call("POST", `/blobs/uploads/?digest=${digestOf(content)}`, { body: content });
    assert.deepEqual([whole.status, whole.code], [503, "UNAVAILABLE"], "a body is told 503");
    const put = await admin.call("PUT", `${session(first)}?digest=${digestOf(content)}`, { body: content });
    assert.equal(put.status, 201, "an upload that counts already goes on");
    const third = await begin(cluster);
    assert.equal(third.status, 202, "a commit frees its place");
    assert.equal((await admin.call("DELETE", session(third))).status, 204);
    const fourth = await begin(cluster);
    assert.equal(fourth.status, 202, "a cancel frees its place");

    const freed = await eventually(
      () => begin(cluster),
      (answer) => answer.status === 202,
    );
    assert.equal(freed.status, 202, "uploads that nothing is sent to stop counting");
    const resumed = await eventually(
      () => admin.call("PUT", `${session(second)}?digest=${digestOf(content)}`, { body: content }),
      (answer) => answer.status === 201,
    );
    assert.equal(resumed.status, 201);
  });

  test("keeps the place of a slow body, however long it takes", async () => {
    await using cluster = await startTestCluster(limited({ uploads: { perIdentity: 1, leaseMs: 600 } }));
    const begun = await begin(cluster);
    const sending = sendSlowly(cluster, session(begun), 2_000);
    let isSent = false;
    void sending.then(() => {
      isSent = true;
    });
    for (let n = 0; !isSent; n++) {
      assert.equal((await begin(cluster)).status, 429, `try ${n + 1} while the body flows`);
      await systemTimers.sleep(150);
    }
    assert.equal(await sending, 202);
  });
});

/** A PATCH whose body takes `ms` to arrive. Resolves with its status. */
async function sendSlowly(cluster: TestCluster, path: string, ms: number): Promise<number> {
  const url = new URL(`/v2/${NAME}${path}`, cluster.site.gateway.url);
  const headers = { ...bearer("admin", `${NAME}:pull,push`), "content-length": "20" };
  const outgoing = request(url, { method: "PATCH", headers, agent: false });
  const answered = new Promise<number>((resolve, reject) => {
    outgoing.on("response", (response) => resolve(response.resume().statusCode ?? 0)).on("error", reject);
  });
  for (let n = 0; n < 20; n++) {
    outgoing.write("x");
    await systemTimers.sleep(ms / 20);
  }
  outgoing.end();
  return await answered;
}

async function eventually(request: () => Promise<Answer>, isGood: (answer: Answer) => boolean): Promise<Answer> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const answer = await request();
    if (isGood(answer) || performance.now() > deadline) return answer;
    await systemTimers.sleep(50);
  }
}

const noRedis = needsRedis();

describe("two gateways of a site that share a Redis", { skip: noRedis }, () => {
  test("count logins and uploads together, alone while Redis is away, and together again", async () => {
    await using redis = await RedisServer.start();
    const clock = createSystemClock();
    const siteSecret = randomBytes(32);
    const log = createLogger({ level: "error", write: () => undefined });
    const store = () =>
      openLimitStore({
        redis: { url: redis.url, timeoutMs: 1_000 },
        cluster: "test",
        site: "eu",
        siteSecret,
        clock,
        timers: systemTimers,
        log,
      });
    await using one = await store();
    await using two = await store();
    const limits = limited({ uploads: { perIdentity: 4 } });
    await using first = await startTestCluster({ ...limits, limits: one });
    await using second = await startTestCluster({ ...limits, limits: two });
    // Until both are connected they would count alone.
    await eventuallyShared(one, two);
    const begin = (cluster: TestCluster) => adminOf(cluster.site, NAME).call("POST", "/blobs/uploads/");
    for (const cluster of [first, second, first]) assert.equal((await begin(cluster)).status, 202);
    const last = await begin(second);
    assert.equal(last.status, 202);
    isRefused(await begin(first), /4 uploads/);
    isRefused(await begin(second), /4 uploads/);

    await redis.kill();
    assert.equal((await begin(first)).status, 202, "two of its own: it decides alone");
    assert.equal((await begin(first)).status, 202);
    isRefused(await begin(first), /4 uploads/);
    const cancelled = await adminOf(second.site, NAME).call(
      "DELETE",
      String(last.headers.location).slice(`/v2/${NAME}`.length),
    );
    assert.equal(cancelled.status, 204, "nothing but limits depends on Redis");

    await redis.start();
    await eventuallyShared(one, two);
    isRefused(await begin(first), /4 uploads/);
    assert.equal((await begin(second)).status, 202);
  });
});

/** Resolves when what one store keeps is read by the other. */
async function eventuallyShared(one: LimitStore, two: LimitStore): Promise<void> {
  for (let n = 0, deadline = performance.now() + 15_000; ; n++) {
    const key = `shared ${n}`;
    await one.keepNote(key, "yes", { ttlMs: 10_000 });
    if ((await two.readNote(key)) === "yes") return;
    if (performance.now() > deadline) throw new Error("the stores never shared anything");
    await systemTimers.sleep(20);
  }
}
