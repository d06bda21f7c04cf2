import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { blockListOf, limitsConfigSchema, redisConfigSchema } from "./config.ts";

describe("limits in a configuration", () => {
  test("have defaults for everything", () => {
    const limits = limitsConfigSchema.parse({});
    assert.equal(limits.requests.perAddress, "off");
    assert.equal(limits.uploads.perIdentity, 1_000);
    assert.ok(blockListOf(limits.exempt).check("127.8.9.1"));
    assert.ok(blockListOf(limits.exempt).check("::1", "ipv6"));
    assert.ok(!blockListOf(limits.exempt).check("192.0.2.1"));
  });

  test("refuse what means nothing", () => {
    const bad: unknown[] = [
      { exempt: ["10.0.0.0/33"] },
      { exempt: ["example.com"] },
      { exempt: ["10.0.0.0/8/8"] },
      { exempt: ["10.0.0.0/"] },
      { requests: { perIdentity: { perSecond: 0, burst: 1 } } },
      { requests: { anonymous: { perSecond: 1 } } },
      { tokens: "none" },
      { uploads: { perIdentity: 0 } },
      { surprise: 1 },
    ];
    for (const limits of bad) assert.equal(limitsConfigSchema.safeParse(limits).success, false, JSON.stringify(limits));
  });

  test("take a Redis by its URL, never with a login in it", () => {
    for (const url of ["redis://127.0.0.1:6379", "redis://cache/3", "rediss://cache.example:6380/0", "redis://[::1]:1"])
      assert.equal(redisConfigSchema.parse({ url }).timeoutMs, 10, url);
    for (const url of [
      "http://cache",
      "redis://user:secret@cache",
      "redis://:secret@cache",
      "redis://cache/a",
      "cache",
    ])
      assert.equal(redisConfigSchema.safeParse({ url }).success, false, url);
  });
});
