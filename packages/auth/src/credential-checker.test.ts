import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import { CredentialCache, createLocalStore, LoginThrottle } from "@meridian/limits";
import type { Timers } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import { CredentialChecker } from "./credential-checker.ts";
import { FairQueue } from "./fair-queue.ts";

/** Checks "hash of <password>"; counts, and pauses until told to go on. */
class Bench {
  readonly users = new Map<string, policyV1.User>();
  readonly computed: string[] = [];
  readonly delays: number[] = [];
  nowMs = 0;
  gate: Promise<void> = Promise.resolve();
  readonly checker: CredentialChecker;

  constructor() {
    const timers: Timers = {
      sleep: async (ms) => void this.delays.push(ms),
      after: () => ({ [Symbol.dispose]: () => {} }),
      every: () => ({ [Symbol.dispose]: () => {} }),
    };
    const clock = { now: () => this.nowMs, monotonic: () => this.nowMs };
    const store = createLocalStore({ clock });
    const rules = { firstDelayMs: 250, maxDelayMs: 3_000, forgetAfterMs: 600_000 };
    this.checker = new CredentialChecker({
      users: () => this.users,
      throttle: new LoginThrottle({ store, rules, clock }),
      cache: new CredentialCache({ store, key: Buffer.alloc(32, 7), ttlMs: 60_000, clock }),
      timers,
      verify: async (password, hash) => {
        this.computed.push(password);
        await this.gate;
        return hash === `hash of ${password}`;
      },
    });
  }

  put(name: string, password: string, disabled = false): void {
    this.users.set(name, create(policyV1.UserSchema, { name, passwordHash: `hash of ${password}`, disabled }));
  }

  check(username: string, password: string, address = "192.0.2.1"): Promise<boolean> {
    return this.checker.check({ username, password, address });
  }
}

describe("credential checker", () => {
  it("computes once for 500 who log in at the same time, and again for none within a minute", async () => {
    const bench = new Bench();
    bench.put("robot", "secret");
    const addresses = Array.from({ length: 500 }, (_, index) => `192.0.2.${index}`);
    const answers = await Promise.all(addresses.map((address) => bench.check("robot", "secret", address)));
    assert.ok(answers.every(Boolean));
    assert.equal(bench.computed.length, 1);
    bench.nowMs = 59_000;
    assert.equal(await bench.check("robot", "secret"), true);
    assert.equal(bench.computed.length, 1);
    bench.nowMs = 61_000;
    assert.equal(await bench.check("robot", "secret"), true);
    assert.equal(bench.computed.length, 2);
  });

  it("forgets at once what it knew when the password changes", async () => {
    const bench = new Bench();
    bench.put("bob", "old");
    assert.equal(await bench.check("bob", "old"), true);
    assert.equal(await bench.check("bob", "new"), false);
    bench.put("bob", "new");
    assert.equal(await bench.check("bob", "old"), false);
    assert.equal(await bench.check("bob", "new"), true);
  });

  it("does the same work for an unknown or disabled user, and refuses", async () => {
    const bench = new Bench();
    bench.put("gone", "secret", true);
    assert.equal(await bench.check("nobody", "secret"), false);
    assert.equal(await bench.check("gone", "secret"), false);
    assert.deepEqual(bench.computed, ["secret", "secret"]);
    assert.equal(bench.delays.length, 2);
  });

  it("slows wrong passwords of one user and address more and more, never a right one", async () => {
    const bench = new Bench();
    bench.put("bob", "secret");
    for (let n = 0; n < 6; n++) assert.equal(await bench.check("bob", `wrong ${n}`), false);
    assert.deepEqual(bench.delays, [250, 500, 1_000, 2_000, 3_000, 3_000]);
    assert.equal(await bench.check("bob", "wrong", "198.51.100.1"), false);
    assert.equal(bench.delays.at(-1), 250, "another address starts anew");
    assert.equal(await bench.check("bob", "secret"), true);
    assert.equal(bench.delays.length, 7, "the right password was not delayed");
    assert.equal(await bench.check("bob", "wrong 9"), false);
    assert.equal(bench.delays.at(-1), 250, "the right password ended the series");
  });

  it("does not compute for passwords beyond any bound", async () => {
    const bench = new Bench();
    bench.put("bob", "");
    assert.equal(await bench.check("bob", "x".repeat(1_025)), false);
  });
});

describe("fair queue", () => {
  it("lets keys take turns and refuses beyond its bound", async () => {
    const queue = new FairQueue({ concurrency: 1, maxWaiting: 5 });
    const order: string[] = [];
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const run = (key: string) =>
      queue.run(key, async () => {
        await gate;
        order.push(key);
      });
    const all = ["a", "a", "a", "a", "b", "c"].map(run);
    await assert.rejects(run("d"), /too many logins/);
    open();
    await Promise.all(all);
    assert.deepEqual(order, ["a", "a", "b", "c", "a", "a"]);
  });

  it("goes on after a task that failed", async () => {
    const queue = new FairQueue({ concurrency: 1, maxWaiting: 5 });
    await assert.rejects(
      queue.run("a", () => Promise.reject(new Error("broken"))),
      /broken/,
    );
    assert.equal(await queue.run("a", async () => "well"), "well");
  });
});
