import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type FetchClass, FetchScheduler, type FetchTicket } from "./fetch-scheduler.ts";

describe("FetchScheduler", () => {
  const granted: string[] = [];
  const ask = (scheduler: FetchScheduler, name: string, queue: FetchClass, size?: number): FetchTicket => {
    const ticket = scheduler.enqueue(queue, size);
    void ticket.granted.then(() => granted.push(name));
    return ticket;
  };

  it("lets a pull run however many background fetches do", async () => {
    granted.length = 0;
    const scheduler = new FetchScheduler({ pull: 2, background: 1 });
    ask(scheduler, "b1", "background");
    ask(scheduler, "b2", "background");
    ask(scheduler, "p1", "pull");
    await turn();
    assert.deepEqual(granted, ["b1", "p1"]);
  });

  it("gives a slot back once, however often it is told, and the smallest takes it", async () => {
    granted.length = 0;
    const scheduler = new FetchScheduler({ pull: 1, background: 1 });
    const first = ask(scheduler, "first", "background", 1);
    ask(scheduler, "unknown", "background");
    ask(scheduler, "large", "background", 100);
    const small = ask(scheduler, "small", "background", 10);
    const slot = await first.granted;
    slot[Symbol.dispose]();
    slot[Symbol.dispose]();
    first.cancel();
    await turn();
    assert.deepEqual(granted, ["first", "small"]);
    (await small.granted)[Symbol.dispose]();
    await turn();
    assert.deepEqual(granted, ["first", "small", "large"]);
  });

  it("promotes one that waits, and forgets one that was cancelled", async () => {
    granted.length = 0;
    const scheduler = new FetchScheduler({ pull: 1, background: 1 });
    ask(scheduler, "running", "background");
    ask(scheduler, "cancelled", "background").cancel();
    ask(scheduler, "wanted", "background").promote();
    await turn();
    assert.deepEqual(granted, ["running", "wanted"]);
  });

  it("lets metadata go before the rest, and neither take a pull's slots", async () => {
    granted.length = 0;
    const scheduler = new FetchScheduler({ pull: 1, background: 1 });
    const running = ask(scheduler, "running", "background", 1);
    ask(scheduler, "layer", "background", 10);
    ask(scheduler, "manifest", "metadata", 100);
    ask(scheduler, "pull", "pull", 1_000);
    await turn();
    assert.deepEqual(granted, ["running", "pull"]);
    running.cancel();
    await turn();
    assert.deepEqual(granted, ["running", "pull", "manifest"]);
  });

  it("starves no large one", async () => {
    granted.length = 0;
    const scheduler = new FetchScheduler({ pull: 1, background: 1 });
    let running = ask(scheduler, "first", "background", 1);
    ask(scheduler, "large", "background", 1_000_000);
    for (let i = 0; i < 8 && !granted.includes("large"); i++) {
      const next = ask(scheduler, "small", "background", 1);
      running.cancel();
      running = next;
      await turn();
    }
    assert.ok(granted.includes("large"), granted.join());
  });
});
