import assert from "node:assert/strict";
import { digestOf } from "@meridian/oci";
import type { On } from "./contract.ts";
import { collect, pattern, put, rejects } from "./contract-content.ts";
import { withDraining } from "./draining-store.ts";

/** Removal in two steps over the driver (consistency.md §7). */
export function drainingContract(on: On): void {
  on("removes what was drained, and denies it from the drain on", async (driver) => {
    const store = withDraining(driver);
    const [gone, stays] = [await put(store, "gone", pattern(1_000)), await put(store, "stays", pattern(1_000, 2))];
    store.drain(gone);
    assert.equal(await store.stat(gone), undefined);
    assert.equal(await store.removeDrained(gone), "removed");
    assert.equal(await store.open(gone), undefined);
    assert.equal(await store.removeDrained(gone), "kept");
    store.drain(gone);
    assert.equal(await store.removeDrained(gone), "absent");
    assert.deepEqual(await Array.fromAsync(store.list()), [{ digest: stays, size: 1_000 }]);
  });

  on("keeps what was never drained, and what is to be kept after all", async (driver) => {
    const store = withDraining(driver);
    const digest = await put(store, "a", pattern(1_000));
    assert.equal(await store.removeDrained(digest), "kept");
    store.drain(digest);
    store.keep(digest);
    assert.equal(await store.removeDrained(digest), "kept");
    assert.deepEqual(await store.stat(digest), { digest, size: 1_000 });
  });

  on("keeps what was committed again after the drain: no commit counts on a file that goes", async (driver) => {
    const store = withDraining(driver);
    const content = pattern(5_000);
    const digest = await put(store, "first", content);
    await using late = await store.begin("late");
    await late.write(content);
    store.drain(digest);
    await late.commit(digest);
    assert.equal(await store.removeDrained(digest), "kept");
    assert.deepEqual(await store.stat(digest), { digest, size: 5_000 });
    store.drain(digest);
    await store.put(digest, content);
    assert.equal(await store.removeDrained(digest), "kept");
    await using blob = (await store.open(digest))!;
    assert.deepEqual(await collect(blob), content);
  });

  on(
    "has the bytes after any race of commits, puts and removals in which a store was last asked to keep",
    async (driver) => {
      const store = withDraining(driver);
      const content = pattern(2_000);
      const digest = digestOf(content);
      for (let round = 0; round < 20; round++) {
        await put(store, `before-${round}`, content);
        const upload = await store.begin(`race-${round}`);
        await upload.write(content);
        store.drain(digest);
        const [, removal] = await Promise.all(
          round % 2 === 0
            ? [upload.commit(digest), store.removeDrained(digest)]
            : [store.put(digest, content), store.removeDrained(digest)],
        );
        assert.notEqual(removal, "absent");
        assert.deepEqual(await store.stat(digest), { digest, size: 2_000 }, `round ${round}: ${removal}`);
        await upload.cancel();
      }
    },
  );

  on("lets readers finish who had it open", async (driver) => {
    const store = withDraining(driver);
    const content = pattern(300_000);
    const digest = await put(store, "open", content);
    await using blob = (await store.open(digest))!;
    store.drain(digest);
    assert.deepEqual(await collect(blob, { start: 100_000, end: 200_000 }), content.subarray(100_000, 200_000));
  });

  on("still refuses bytes of another digest, which keep nothing", async (driver) => {
    const store = withDraining(driver);
    const digest = await put(store, "right", pattern(100));
    await using wrong = await store.begin("wrong");
    await wrong.write(pattern(100, 2));
    await rejects(wrong.commit(digest), "digest-mismatch");
    assert.deepEqual(await store.stat(digest), { digest, size: 100 });
  });
}
