import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createManualTime } from "@meridian/runtime";
import { CredentialCache } from "./credential-cache.ts";
import type { NoteCache } from "./limit-store.ts";

const TTL_MS = 60_000;

function bench(key = Buffer.alloc(32, 1)) {
  const time = createManualTime(1_000_000);
  const notes = new Map<string, string>();
  const store: NoteCache = {
    readNote: async (name) => notes.get(name),
    keepNote: async (name, note) => void notes.set(name, note),
  };
  return { time, notes, cache: new CredentialCache({ store, key, ttlMs: TTL_MS, clock: time.clock }), store };
}

describe("credential cache", () => {
  test("remembers both verdicts for its time, each for its own question", async () => {
    const { time, cache } = bench();
    const right = cache.question("bob", "secret", "hash");
    const wrong = cache.question("bob", "guess", "hash");
    await cache.remember(right, true);
    await cache.remember(wrong, false);
    assert.equal(await cache.recall(right), true);
    assert.equal(await cache.recall(wrong), false);
    assert.equal(await cache.recall(cache.question("bob", "secret", "new hash")), undefined);
    assert.notEqual(cache.question("a", "bc"), cache.question("ab", "c"));
    await time.advance(TTL_MS);
    assert.equal(await cache.recall(right), undefined, "older than it may be, whatever the store says");
  });

  test("keeps nothing of a credential", async () => {
    const { notes, cache } = bench();
    await cache.remember(cache.question("bob", "hunter2", "argon2id"), true);
    const kept = JSON.stringify([...notes]);
    for (const secret of ["bob", "hunter2", "argon2id", Buffer.from("hunter2").toString("base64url")])
      assert.ok(!kept.includes(secret), secret);
  });

  test("believes nothing that was not written with the site's key for this very question", async () => {
    const { time, notes, cache, store } = bench();
    const right = cache.question("bob", "secret", "hash");
    const wrong = cache.question("bob", "guess", "hash");
    await cache.remember(right, true);
    const note = notes.get(right)!;
    const [, until, seal] = note.split(".");
    const another = new CredentialCache({ store, key: Buffer.alloc(32, 2), ttlMs: TTL_MS, clock: time.clock });
    await another.remember(wrong, true);
    const forged = [
      notes.get(wrong)!,
      note,
      "",
      "right",
      "right..",
      `right.${until}.`,
      `right.${Number(until) + 1}.${seal}`,
      `right.9999999999999.${seal}`,
      `wrong.${until}.${seal}`,
    ];
    for (const text of forged) {
      notes.set(wrong, text);
      assert.equal(await cache.recall(wrong), undefined, text);
    }
    await cache.remember(wrong, false);
    notes.set(wrong, notes.get(wrong)!.replace("wrong", "right"));
    assert.equal(await cache.recall(wrong), undefined, "a verdict that was turned round");
    assert.equal(await cache.recall(right), true);
  });
});
