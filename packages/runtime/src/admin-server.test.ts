import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type AdminHandler, startAdminServer } from "./admin-server.ts";
import { createHealth, type HealthCheck } from "./health.ts";
import type { Logger } from "./logger.ts";
import { createManualTime } from "./manual-time.ts";
import { systemTimers } from "./timers.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const passing: HealthCheck = { name: "log", check: async () => {} };

describe("createHealth", () => {
  it("is ready when all checks pass, and names what fails and why", async () => {
    const checks = [passing, { name: "storage", check: async () => Promise.reject(new Error("the disk is full")) }];
    const health = createHealth({ checks: () => checks, timers: systemTimers, timeoutMs: 1_000, cacheMs: 0 });
    assert.deepEqual(await health.report(), {
      ready: false,
      checks: [
        { name: "log", ok: true },
        { name: "storage", ok: false, message: "the disk is full" },
      ],
    });
    checks.pop();
    assert.equal((await health.report()).ready, true);
  });

  it("fails a check that does not answer, and tells it", async () => {
    const { timers, clock, advance } = createManualTime(0);
    let told = false;
    const stuck: HealthCheck = {
      name: "auth",
      check: (signal) => new Promise(() => signal.addEventListener("abort", () => (told = true))),
    };
    const health = createHealth({ checks: () => [stuck], timers, clock, timeoutMs: 500, cacheMs: 0 });
    const report = health.report();
    await advance(500);
    assert.deepEqual((await report).checks, [{ name: "auth", ok: false, message: "no answer within 500 ms" }]);
    assert.equal(told, true);
  });

  it("calls a check as a method of its object", async () => {
    class Own implements HealthCheck {
      readonly name = "own";
      #works = true;
      async check(): Promise<void> {
        if (!this.#works) throw new Error("broken");
      }
    }
    const health = createHealth({ checks: () => [new Own()], timers: systemTimers, timeoutMs: 1_000, cacheMs: 0 });
    assert.equal((await health.report()).ready, true);
  });

  it("shares one run between callers, and its report for a while", async () => {
    const { timers, clock, advance } = createManualTime(0);
    let runs = 0;
    const counted = { name: "log", check: async () => void runs++ };
    const health = createHealth({ checks: () => [counted], timers, clock, timeoutMs: 500, cacheMs: 100 });
    await Promise.all([health.report(), health.report()]);
    await advance(99);
    await health.report();
    assert.equal(runs, 1);
    await advance(1);
    await health.report();
    assert.equal(runs, 2);
  });

  it("gives a report of a failure again for a shorter while", async () => {
    const { timers, clock, advance } = createManualTime(0);
    let works = false;
    const check = { name: "log", check: async () => (works ? undefined : Promise.reject(new Error("not yet"))) };
    const cached = { cacheMs: 100, failedCacheMs: 10 };
    const health = createHealth({ checks: () => [check], timers, clock, timeoutMs: 500, ...cached });
    assert.equal((await health.report()).ready, false);
    works = true;
    await advance(9);
    assert.equal((await health.report()).ready, false);
    await advance(1);
    assert.equal((await health.report()).ready, true);
    works = false;
    await advance(99);
    assert.equal((await health.report()).ready, true);
  });
});

describe("startAdminServer", () => {
  async function start(checks: HealthCheck[], more: Partial<Parameters<typeof startAdminServer>[0]> = {}) {
    const health = createHealth({ checks: () => checks, timers: systemTimers, timeoutMs: 1_000, cacheMs: 0 });
    return startAdminServer({ host: "127.0.0.1", port: 0, health, log: silent, ...more });
  }

  it("answers /livez always and /readyz by the checks", async () => {
    const checks = [passing];
    await using admin = await start(checks);
    assert.equal((await fetch(`${admin.url}/livez`)).status, 200);
    const ready = await fetch(`${admin.url}/readyz?verbose`);
    assert.equal(ready.status, 200);
    assert.deepEqual(await ready.json(), { ready: true, checks: [{ name: "log", ok: true }] });
    checks.push({ name: "storage", check: async () => Promise.reject(new Error("the disk is full")) });
    const unready = await fetch(`${admin.url}/readyz`);
    assert.equal(unready.status, 503);
    assert.match(await unready.text(), /"name":"storage","ok":false,"message":"the disk is full"/);
    assert.equal((await fetch(`${admin.url}/livez`)).status, 200);
  });

  it("serves metrics and extra paths, and refuses the rest", async () => {
    const extra = new Map<string, AdminHandler>([
      ["/extra", (_request, response) => void response.end("more")],
      ["/broken", () => Promise.reject(new Error("secret internals"))],
    ]);
    await using admin = await start([passing], { metrics: async () => "up 1\n", extra });
    const metrics = await fetch(`${admin.url}/metrics`);
    assert.match(String(metrics.headers.get("content-type")), /^text\/plain; version=0\.0\.4/);
    assert.equal(await metrics.text(), "up 1\n");
    assert.equal(await (await fetch(`${admin.url}/extra`)).text(), "more");
    const broken = await fetch(`${admin.url}/broken`);
    assert.equal(broken.status, 500);
    assert.doesNotMatch(await broken.text(), /internals/);
    assert.equal((await fetch(`${admin.url}/none`)).status, 404);
    assert.equal((await fetch(`${admin.url}/readyz`, { method: "POST" })).status, 405);
  });

  it("says which address is taken", async () => {
    await using admin = await start([passing]);
    const port = Number(new URL(admin.url).port);
    await assert.rejects(start([passing], { port }), {
      message: `cannot listen on 127.0.0.1:${port}: the port is taken by another process`,
    });
  });
});
