import assert from "node:assert/strict";
import { test } from "node:test";
import type { Logger } from "@meridian/runtime";
import { systemTimers } from "@meridian/runtime";
import type { EventLogs } from "../event-log.ts";
import { contendForLease, type Lease } from "../lease.ts";
import { type LogServer, useServer } from "./log-server.ts";
import { bytes, until } from "./waiting.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** Leases of a site's processes. */
export function leaseCases(make: () => Promise<LogServer>): void {
  const used = useServer(make);

  const contend = (logs: EventLogs, name: string, holder: string, behindMs = 0): Lease => {
    // A wall clock that is wrong must not matter.
    const clock = { now: () => Date.now() - behindMs, monotonic: () => performance.now() };
    return contendForLease({ logs, name, holder, clock, timers: systemTimers, log: silent });
  };

  test("one of several holds it; given back, another has it at once", async () => {
    await using logs = await used.server.connect("eu/lease");
    const leases = ["a", "b", "c"].map((holder, index) => contend(logs, "shared", holder, index * 3_600_000));
    await until("one holds it", () => leases.some(({ held }) => held));
    for (let round = 0; round < 2; round += 1) {
      const held = leases.filter((lease) => lease.held);
      assert.equal(held.length, 1);
      const [holder] = held;
      leases.splice(leases.indexOf(holder!), 1);
      const given = performance.now();
      await holder?.[Symbol.asyncDispose]();
      await until("another holds it", () => leases.some((lease) => lease.held));
      assert.ok(performance.now() - given < 2_500, "it was given back, so nobody waits for it to run out");
    }
    for (const lease of leases) await lease[Symbol.asyncDispose]();
  });

  test("a holder that says nothing any more is replaced within five seconds, and not before it has fenced itself", async () => {
    await using logs = await used.server.connect("eu/silence");
    let away = false;
    const cut: EventLogs = {
      open: async (...args: Parameters<EventLogs["open"]>) => {
        if (away) await new Promise(() => {});
        return logs.open(...args);
      },
      streams: () => logs.streams(),
      renew: (...args) => logs.renew(...args),
      drop: (stream) => logs.drop(stream),
      bulletin: logs.bulletin,
      probe: (signal) => logs.probe(signal),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const first = contend(cut, "silent", "first");
    await until("it is held", () => first.held);
    await using second = contend(logs, "silent", "second");
    await until("the second knows who holds it", () => second.holder === "first");
    away = true;
    const silentSince = performance.now();
    let fencedAt = Number.POSITIVE_INFINITY;
    using _watch = first.onChanged(() => (fencedAt = performance.now()));
    await until("the second holds it", () => second.held);
    assert.ok(performance.now() - silentSince <= 5_000, `${performance.now() - silentSince} ms`);
    assert.ok(fencedAt < performance.now(), "the first gave up before");
    assert.equal(first.held, false);
  });

  test("whoever overwrites it takes it, and what nobody can read runs out", async () => {
    await using logs = await used.server.connect("eu/overwritten");
    await using lease = contend(logs, "over", "mine");
    await until("it is held", () => lease.held);
    const log = await logs.open("LEASES");
    await log.append({ subject: "LEASES.over", payload: bytes("{") });
    await until("it is lost", () => !lease.held);
    await until("it has run out", () => lease.held);
  });
}
