import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isContentError } from "@meridian/oci";
import type { LogEntry } from "../event-log.ts";
import { Arrivals, type Taken } from "./arrivals.ts";

const incarnation = { created: 7n, id: "us-1" };

function entry(sequence: number, text = `entry ${sequence}`): LogEntry {
  return { sequence, subject: `m.eu.tag.${sequence}`, payload: Buffer.from(text) };
}

function copied(sequence: number, origin = sequence * 10): LogEntry {
  return { ...entry(sequence), origin: { incarnation, sequence: origin } };
}

function drain(arrivals: Arrivals): Taken[] {
  const all: Taken[] = [];
  for (let taken = arrivals.take(); taken !== undefined; taken = arrivals.take()) all.push(taken);
  return all;
}

const shown = (taken: readonly Taken[]): number[] => taken.flatMap(({ entries }) => entries.map((one) => one.sequence));
const stored = (taken: readonly Taken[]): number[] =>
  taken.flatMap((one) => one.stored.map(({ sequence }) => sequence));

describe("arrivals of a log of the site's own", () => {
  test("news that follows directly is shown at once, and its delivery is not shown again", () => {
    const arrivals = new Arrivals(4, { copy: false });
    arrivals.tell([entry(5), entry(6)]);
    assert.equal(arrivals.toldAhead, true);
    const first = drain(arrivals);
    assert.deepEqual(
      [shown(first), stored(first)],
      [
        [5, 6],
        [5, 6],
      ],
    );
    assert.ok(
      first.every(({ ahead }) => !ahead),
      "an acknowledged entry is in the stream",
    );
    arrivals.deliver(entry(5));
    arrivals.deliver(entry(6));
    assert.equal(arrivals.toldAhead, false);
    assert.deepEqual(drain(arrivals), []);
  });

  test("lost news: what comes behind it waits for the server to deliver what is missing", () => {
    const arrivals = new Arrivals(0, { copy: false });
    arrivals.tell([entry(2), entry(3)]);
    assert.equal(arrivals.fresh, 0);
    arrivals.deliver(entry(1));
    assert.deepEqual(shown(drain(arrivals)), [1, 2, 3]);
  });

  test("news out of order and twice is shown once, in order", () => {
    const arrivals = new Arrivals(0, { copy: false });
    for (const sequence of [3, 1, 3, 1, 2, 2]) arrivals.tell([entry(sequence)]);
    assert.deepEqual(shown(drain(arrivals)), [1, 2, 3]);
    arrivals.tell([entry(1), entry(3)]);
    assert.equal(arrivals.empty, true);
  });

  test("news of what the server has delivered, or left out as compacted away, is nothing new", () => {
    const arrivals = new Arrivals(0, { copy: false });
    arrivals.tell([entry(3)]);
    arrivals.deliver(entry(4));
    arrivals.tell([entry(2), entry(4)]);
    assert.deepEqual(shown(drain(arrivals)), [4]);
    assert.equal(arrivals.toldAhead, false);
  });

  test("a delivery that is not what was told ends the tail", () => {
    const arrivals = new Arrivals(0, { copy: false });
    arrivals.tell([entry(1)]);
    assert.throws(
      () => arrivals.deliver(entry(1, "another one")),
      (error) => isContentError(error, "unavailable"),
    );
  });

  test("a slow reader is told no more than a bounded number, and misses nothing", () => {
    const arrivals = new Arrivals(0, { copy: false });
    const all = Array.from({ length: 3_000 }, (_, index) => entry(index + 1));
    arrivals.tell(all);
    assert.equal(arrivals.fresh, 1_000);
    for (const one of all) arrivals.deliver(one);
    assert.deepEqual(
      shown(drain(arrivals)),
      all.map(({ sequence }) => sequence),
    );
  });

  test("batches are bounded in bytes", () => {
    const arrivals = new Arrivals(0, { copy: false });
    for (let sequence = 1; sequence <= 40; sequence += 1) {
      arrivals.deliver({ ...entry(sequence), payload: new Uint8Array(60_000) });
    }
    const taken = drain(arrivals);
    assert.ok(taken.every(({ entries }) => entries.length * 60_000 <= 1 << 20));
    assert.equal(shown(taken).length, 40);
  });
});

describe("arrivals of a copy", () => {
  test("news is shown ahead; its delivery says that it is stored", () => {
    const arrivals = new Arrivals(0, { copy: true });
    arrivals.tell([copied(1), copied(2)]);
    const [ahead] = drain(arrivals);
    assert.equal(ahead?.ahead, true);
    assert.deepEqual(ahead?.stored, []);
    arrivals.deliver(copied(1));
    arrivals.deliver(copied(2));
    assert.equal(arrivals.fresh, 0);
    const later = drain(arrivals);
    assert.deepEqual([shown(later), stored(later)], [[], [1, 2]]);
  });

  test("news that is delivered before it was taken is a stored entry like any other", () => {
    const arrivals = new Arrivals(0, { copy: true });
    arrivals.tell([copied(1), copied(2)]);
    arrivals.deliver(copied(1));
    const taken = drain(arrivals);
    assert.deepEqual(
      taken.map(({ ahead, entries }) => [ahead, entries.length]),
      [
        [false, 1],
        [true, 1],
      ],
    );
    assert.deepEqual(stored(taken), [1]);
  });

  test("the same record from another place of its origin ends the tail", () => {
    const arrivals = new Arrivals(0, { copy: true });
    arrivals.tell([copied(1, 10)]);
    assert.throws(
      () => arrivals.deliver(copied(1, 11)),
      (error) => isContentError(error, "unavailable"),
    );
  });
});
