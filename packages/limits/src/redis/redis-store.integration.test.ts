import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { createLogger, createSystemClock, systemTimers } from "@meridian/runtime";
import { type LimitBench, limitStoreContract } from "../contract.ts";
import { layeredStore } from "../layered-store.ts";
import { createLocalStore } from "../local/local-store.ts";
import { needsRedis, RedisServer } from "./redis-server.fixture.ts";
import { openRedisStore, type RedisStore } from "./redis-store.ts";

const skip = needsRedis();
const clock = createSystemClock();
const key = randomBytes(32);
let server: RedisServer;

before(async () => {
  if (skip === false) server = await RedisServer.start();
});
after(() => server?.[Symbol.asyncDispose]());

interface Line {
  readonly level: string;
  readonly message: string;
}

/** A store under a prefix of its own, connected. */
async function connected(
  prefix: string,
  { redis = server, timeoutMs = 5_000, lines = [] as Line[], password }: Partial<Settings> = {},
): Promise<RedisStore> {
  const log = createLogger({ level: "debug", write: (line) => void lines.push(JSON.parse(line) as Line) });
  const store = await openRedisStore({
    url: redis.url,
    timeoutMs,
    prefix,
    key,
    timers: systemTimers,
    log,
    ...(password === undefined ? {} : { password }),
  });
  await until("the connection", () => store.isUp);
  return store;
}

interface Settings {
  redis: RedisServer;
  timeoutMs: number;
  lines: Line[];
  password: string;
}

async function until(what: string, condition: () => boolean, deadlineMs = 15_000): Promise<void> {
  for (const end = performance.now() + deadlineMs; !condition(); await systemTimers.sleep(5)) {
    if (performance.now() > end) throw new Error(`${what} did not come about in ${deadlineMs} ms`);
  }
}

/** Time passes by itself: waits for a moment to come. */
async function pass(ms: number): Promise<void> {
  const end = performance.now() + ms + 1;
  while (performance.now() < end) await systemTimers.sleep(end - performance.now());
}

let benches = 0;
async function makeBench(over: (store: RedisStore) => LimitBench["store"]): Promise<LimitBench> {
  const prefix = `contract:${benches++}:`;
  const store = over(await connected(prefix));
  const other = over(await connected(prefix));
  return {
    store,
    other,
    pass,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    },
  };
}

limitStoreContract("Redis", () => makeBench((store) => store), skip);

describe("a site's shared store", { skip }, () => {
  test("holds neither names nor addresses nor credentials", async () => {
    await using store = await connected("secret:");
    await store.addFailure("alice@192.0.2.77", { forgetAfterMs: 60_000 });
    await store.takeLease("alice", "upload", { max: 1, ttlMs: 60_000 });
    await store.keepNote("alice:hunter2", "right", { ttlMs: 60_000 });
    await store.takeToken("192.0.2.77", { perSecond: 1, burst: 1 });
    const { Redis } = await import("ioredis");
    const client = new Redis(server.port, "127.0.0.1");
    try {
      const names = (await client.keys("secret:*")).sort();
      const kinds = names.map((name) => name.split(":")[1]);
      assert.deepEqual(kinds, ["f", "l", "n", "probe", "t"]);
      for (const name of names) {
        assert.doesNotMatch(name, /alice|192\.0\.2|hunter2/);
        assert.ok(name.length < 64, name);
        assert.ok((await client.pttl(name)) !== -1, `${name} never runs out`);
      }
    } finally {
      client.disconnect();
    }
  });

  test("that is killed fails at once, says so once, and comes back with a word", async () => {
    await using redis = await RedisServer.start();
    const lines: Line[] = [];
    await using store = await connected("killed:", { redis, lines });
    const local = createLocalStore({ clock });
    const both = layeredStore(local, store);
    const rule = { forgetAfterMs: 60_000 };
    assert.equal(await both.addFailure("a", rule), 1);
    await redis.kill();
    await until("the loss to be seen", () => !store.isUp);
    const started = performance.now();
    for (let n = 2; n <= 1_000; n++) assert.equal(await both.addFailure("a", rule), n, "the count goes on here");
    const each = (performance.now() - started) / 1_000;
    assert.ok(each < 2, `${each.toFixed(2)} ms for each call while Redis is away`);
    await redis.start();
    await until("the return", () => store.isUp);
    assert.equal(await store.addFailure("a", rule), 1, "a new Redis knows nothing");
    assert.equal(await both.addFailure("a", rule), 1_001, "this process still does");
    const told = lines.filter(({ level }) => level !== "debug").map(({ level }) => level);
    assert.deepEqual(told, ["warn", "info"], JSON.stringify(lines));
  });

  test("that hangs costs three calls their time, then nothing", async () => {
    await using redis = await RedisServer.start();
    const lines: Line[] = [];
    const timeoutMs = 50;
    await using store = await connected("hung:", { redis, lines, timeoutMs });
    const both = layeredStore(createLocalStore({ clock }), store);
    redis.pause(true);
    const rule = { forgetAfterMs: 60_000 };
    let slow = 0;
    for (let n = 1; n <= 500; n++) {
      const started = performance.now();
      assert.equal(await both.addFailure("a", rule), n);
      if (performance.now() - started >= timeoutMs) slow += 1;
    }
    assert.equal(slow, 3);
    redis.pause(false);
    await until("the return", () => store.isUp);
    const told = lines.filter(({ level }) => level !== "debug").map(({ level }) => level);
    assert.deepEqual(told, ["warn", "info"], JSON.stringify(lines));
  });

  test("that takes no writes is not used", async () => {
    await using redis = await RedisServer.start("--maxmemory", "1", "--maxmemory-policy", "noeviction");
    const lines: Line[] = [];
    const log = createLogger({ level: "info", write: (line) => void lines.push(JSON.parse(line) as Line) });
    await using store = await openRedisStore({
      url: redis.url,
      timeoutMs: 5_000,
      prefix: "full:",
      key,
      timers: systemTimers,
      log,
    });
    await until("a word", () => lines.length > 0);
    assert.equal(store.isUp, false);
    await assert.rejects(store.readNote("a"), /Redis is away/);
    assert.match(lines[0]!.message, /Redis cannot be used/);
  });

  test("wants its password, and no log ever shows one", async () => {
    await using redis = await RedisServer.start("--requirepass", "open-sesame");
    const lines: Line[] = [];
    await using store = await connected("login:", { redis, lines, password: "open-sesame" });
    assert.equal(await store.addFailure("a", { forgetAfterMs: 1_000 }), 1);
    const log = createLogger({ level: "debug", write: (line) => void lines.push(JSON.parse(line) as Line) });
    await using wrong = await openRedisStore({
      url: redis.url,
      password: "not-so-secret",
      timeoutMs: 5_000,
      prefix: "login:",
      key,
      timers: systemTimers,
      log,
    });
    await until("a word", () => lines.some(({ level }) => level === "warn"));
    assert.equal(wrong.isUp, false);
    assert.doesNotMatch(JSON.stringify(lines), /sesame|not-so-secret/);
  });
});

limitStoreContract(
  "Redis over local",
  () => makeBench((store) => layeredStore(createLocalStore({ clock }), store)),
  skip,
);
