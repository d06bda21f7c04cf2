import assert from "node:assert/strict";
import { digestOf } from "@meridian/oci";
import type { On } from "./contract.ts";
import { collect, pattern, put, rejects } from "./contract-content.ts";

/** What an upload does while it has one writer. */
export function uploadContract(on: On): void {
  on("shows nothing before the commit", async (store) => {
    const content = pattern(5000);
    await using upload = await store.begin("u");
    await upload.write(content);
    await upload.sync();
    assert.equal(upload.offset, 5000);
    assert.equal(await store.stat(digestOf(content)), undefined);
    assert.deepEqual(await Array.fromAsync(store.list()), []);
    assert.deepEqual(await upload.commit(digestOf(content)), { digest: digestOf(content), size: 5000 });
    assert.equal((await store.stat(digestOf(content)))?.size, 5000);
  });

  on("takes chunks of any size, whose memory is the caller's again afterwards", async (store) => {
    const content = pattern(1_700_000);
    await using upload = await store.begin("u");
    const sizes = [1, 7, 100_000, 65_536, 300_000, 524_288, 0, 3];
    for (let at = 0, i = 0; at < content.length; i++) {
      const chunk = Buffer.from(content.subarray(at, at + sizes[i % sizes.length]!));
      await upload.write(chunk);
      at += chunk.length;
      chunk.fill(0xff);
    }
    const digest = digestOf(content);
    await upload.commit(digest);
    await using blob = (await store.open(digest))!;
    assert.deepEqual(await collect(blob), content);
  });

  on("a wrong digest leaves the upload as it was", async (store) => {
    const content = pattern(1000);
    await using upload = await store.begin("u");
    await upload.write(content.subarray(0, 600));
    for (const wrong of [digestOf("wrong"), digestOf("wrong", "sha512")])
      await rejects(upload.commit(wrong), "digest-mismatch");
    assert.equal(await store.stat(digestOf("wrong")), undefined);
    assert.equal(upload.offset, 600);
    await upload.write(content.subarray(600));
    await upload.commit(digestOf(content));
    assert.equal((await store.stat(digestOf(content)))?.size, 1000);
  });

  on("commits by the other algorithm than it was begun with", async (store) => {
    const content = pattern(400_000);
    const digest = digestOf(content, "sha512");
    await using upload = await store.begin("u", { algorithm: "sha256" });
    await upload.write(content);
    await upload.commit(digest);
    assert.equal((await store.stat(digest))?.size, 400_000);
  });

  on("an upload is gone after its commit", async (store) => {
    const upload = await store.begin("u");
    await upload.commit(digestOf(""));
    await rejects(upload.write(pattern(1)), "not-found");
    await rejects(upload.sync(), "not-found");
    await rejects(upload.commit(digestOf("")), "not-found");
    await upload.cancel();
    await upload[Symbol.asyncDispose]();
    assert.equal(await store.resume("u"), undefined);
    await (await store.begin("u")).cancel();
  });

  on("commits a digest that is there already", async (store) => {
    const content = pattern(3000);
    const digest = await put(store, "first", content);
    await using blob = (await store.open(digest))!;
    assert.equal(await put(store, "second", content), digest);
    assert.equal(await store.resume("second"), undefined);
    assert.deepEqual(await collect(blob), content);
    assert.equal((await Array.fromAsync(store.list())).length, 1);
  });

  on("twins that upload one digest at once both succeed", async (store) => {
    const content = pattern(900_000);
    const digest = digestOf(content);
    const twin = async (id: string): Promise<void> => {
      await using upload = await store.begin(id);
      for (let at = 0; at < content.length; at += 90_000) await upload.write(content.subarray(at, at + 90_000));
      assert.deepEqual(await upload.commit(digest), { digest, size: 900_000 });
    };
    await Promise.all(["a", "b", "c", "d"].map(twin));
    await using blob = (await store.open(digest))!;
    assert.deepEqual(await collect(blob), content);
    assert.equal((await Array.fromAsync(store.list())).length, 1);
  });

  on("cuts back, also below what was synced, and takes the bytes again", async (store) => {
    const content = pattern(500_000);
    await using upload = await store.begin("u");
    await upload.write(content.subarray(0, 300_000));
    await upload.sync();
    await upload.write(pattern(100_000, 9));
    await upload.truncate(300_000);
    await upload.write(pattern(50_000, 8));
    await upload.truncate(310_000);
    await upload.truncate(200_000);
    assert.equal(upload.offset, 200_000);
    await rejects(upload.truncate(200_001), "invalid-range");
    await rejects(upload.truncate(-1), "invalid-range");
    await upload.write(content.subarray(200_000));
    await upload.commit(digestOf(content));
    await using blob = (await store.open(digestOf(content)))!;
    assert.deepEqual(await collect(blob), content);
  });

  on("cuts back to nothing", async (store) => {
    await using upload = await store.begin("u");
    await upload.write(pattern(70_000));
    await upload.truncate(0);
    await upload.commit(digestOf(""));
    assert.equal((await store.stat(digestOf("")))?.size, 0);
  });

  on("reads what has arrived while more arrives, to the end of the commit and beyond", async (store) => {
    const content = pattern(2_000_000);
    const upload = await store.begin("u");
    await upload.write(content.subarray(0, 1_000_000));
    await rejects(collect(upload, { start: 0, end: 1_000_001 }), "invalid-range");
    const first = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const parts: Buffer[] = [];
    const reading = upload.read(
      { start: 10, end: 1_000_000 },
      {
        async write(chunk) {
          parts.push(Buffer.from(chunk));
          first.resolve();
          await goOn.promise;
        },
      },
    );
    await first.promise;
    await upload.write(content.subarray(1_000_000));
    assert.deepEqual(await collect(upload, { start: 900_000, end: 2_000_000 }), content.subarray(900_000));
    await upload.commit(digestOf(content));
    goOn.resolve();
    await reading;
    assert.deepEqual(Buffer.concat(parts), content.subarray(10, 1_000_000));
  });

  on("cancels, as often as one likes", async (store) => {
    const upload = await store.begin("u");
    await upload.write(pattern(100_000));
    await upload.cancel();
    await upload.cancel();
    await rejects(upload.write(pattern(1)), "not-found");
    assert.equal(await store.resume("u"), undefined);
    await (await store.begin("u")).cancel();
  });
}
