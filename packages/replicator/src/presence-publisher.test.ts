import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Change } from "@meridian/catalog";
import { ContentError, digestOf } from "@meridian/oci";
import { createManualTime, type Logger } from "@meridian/runtime";
import { type Presence, PresencePublisher } from "./presence-publisher.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const presence = (name: string): Presence => ({ digest: digestOf(name), size: 1, node: "eu/site" });

function publisherOf(answer: () => void) {
  const time = createManualTime(0);
  const commits: number[] = [];
  const held = new Set<string>();
  const published: Presence[] = [];
  const catalog = {
    holders: (digest: string) => (held.has(digest) ? ["eu/site"] : []),
    commit: async (changes: readonly Change[]) => {
      answer();
      commits.push(changes.length);
      return "version";
    },
  };
  const publisher = new PresencePublisher({ catalog, ...time, log: silent, published: (one) => published.push(one) });
  return { publisher, time, commits, held, published };
}

describe("presence publisher", () => {
  test("blobs that land together are one commit, bounded in size", async () => {
    const { publisher, time, commits, published } = publisherOf(() => {});
    for (let index = 0; index < 600; index += 1) publisher.publish(presence(String(index)));
    await time.advance(60);
    assert.deepEqual(commits, [256, 256]);
    await time.advance(250);
    assert.deepEqual(commits, [256, 256, 88]);
    assert.equal(published.length, 600);
  });

  test("one blob is told soon, a stream of them a few times a second", async () => {
    const { publisher, time, commits } = publisherOf(() => {});
    publisher.publish(presence("first"));
    await time.advance(60);
    assert.deepEqual(commits, [1]);
    for (let index = 0; index < 50; index += 1) {
      publisher.publish(presence(String(index)));
      await time.advance(20);
    }
    await time.advance(250);
    assert.ok(commits.length <= 6, `${commits.length} commits`);
    assert.equal(
      commits.reduce((sum, changes) => sum + changes),
      51,
    );
  });

  test("what the node has said itself meanwhile is not written again", async () => {
    const { publisher, time, commits, held, published } = publisherOf(() => {});
    held.add(digestOf("x"));
    publisher.publish(presence("x"));
    await time.advance(100);
    assert.deepEqual([commits, published.length], [[], 1]);
  });

  test("a log that is away is tried again until it takes them; the failure is timed meanwhile", async () => {
    let away = true;
    const { publisher, time, commits, published } = publisherOf(() => {
      if (away) throw new ContentError("unavailable", "the log is away");
    });
    publisher.publish(presence("x"));
    await time.advance(20_060);
    assert.equal(published.length, 0);
    assert.equal(publisher.failingForMs, 20_000);
    assert.equal(publisher.waiting, 1);
    away = false;
    await time.advance(2_000);
    assert.deepEqual([commits, published.length, publisher.failingForMs], [[1], 1, 0]);
    await publisher[Symbol.asyncDispose]();
  });
});
