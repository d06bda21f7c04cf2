import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { digestOf } from "@meridian/oci";
import { createLogger, createSystemClock, systemTimers } from "@meridian/runtime";
import { type BlobStore, openFilesystemStore } from "@meridian/storage";
import { createBlobNodeEvents } from "./telemetry.ts";
import { Uploads } from "./uploads.ts";

const log = createLogger({ level: "error", write: () => {} });
const content = randomBytes(1_000_000);
const digest = digestOf(content);

async function* body(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

/** A body that goes on when told to. */
function heldBody(): { body: AsyncGenerator<Uint8Array>; taken: Promise<void>; goOn(chunk: Uint8Array): void } {
  const taken = Promise.withResolvers<void>();
  const next = Promise.withResolvers<Uint8Array>();
  const held = async function* (): AsyncGenerator<Uint8Array> {
    yield content.subarray(0, 1_000);
    taken.resolve();
    yield await next.promise;
  };
  return { body: held(), taken: taken.promise, goOn: next.resolve };
}

describe("uploads on disk", () => {
  let root: string;
  let store: BlobStore;
  let uploads: Uploads;
  let number = 0;
  let id = "";
  const stored: string[] = [];
  const open = async (): Promise<void> => {
    store = await openFilesystemStore({ root, clock: createSystemClock(), timers: systemTimers, log });
    const onStored = (name: string): void => void stored.push(name);
    uploads = new Uploads({ store, timers: systemTimers, events: createBlobNodeEvents(log), onStored });
  };
  const close = async (): Promise<void> => {
    await uploads[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
  };
  before(async () => {
    root = await mkdtemp(join(tmpdir(), "meridian-uploads-"));
    await open();
  });
  after(async () => {
    await close();
    await rm(root, { recursive: true });
  });
  beforeEach(async () => {
    id = `upload-${number++}`;
    stored.length = 0;
    await store.delete(digest);
    await uploads.begin(id, "sha256");
  });

  it("takes bodies one after another and makes them a blob", async () => {
    assert.equal(await uploads.offset(id), 0);
    const [first, second] = [content.subarray(0, 300_000), content.subarray(300_000)];
    assert.deepEqual(await uploads.append(id, body(first), { offset: 0 }), { offset: 300_000 });
    assert.deepEqual(await uploads.append(id, body(second), {}), { offset: content.length });
    assert.equal(await uploads.offset(id), content.length);
    assert.deepEqual(await uploads.commit(id, digest), { digest, size: content.length });
    assert.deepEqual(stored, [digest]);
  });

  it("answers a repeated commit, one after the other and at once, and stores once", async () => {
    await uploads.append(id, body(content), {});
    const both = await Promise.all([uploads.commit(id, digest), uploads.commit(id, digest)]);
    assert.deepEqual(
      both.map(({ size }) => size),
      [content.length, content.length],
    );
    assert.equal((await uploads.commit(id, digest)).size, content.length);
    assert.deepEqual(stored, [digest]);
  });

  it("refuses a commit of what it is not, and lets the right one follow", async () => {
    await uploads.append(id, body(content), {});
    await assert.rejects(uploads.commit(id, digestOf("other")), { kind: "digest-mismatch" });
    assert.equal(await store.stat(digest), undefined);
    assert.equal((await uploads.commit(id, digest)).size, content.length);
  });

  it("refuses an offset that is not the acknowledged one, and says which that is", async () => {
    await uploads.append(id, body(content.subarray(0, 10)), {});
    for (const offset of [0, 9, 11]) {
      await assert.rejects(uploads.append(id, body(content), { offset }), { kind: "invalid-range", message: /at 10/ });
    }
  });

  it("does not acknowledge a body that broke off: a retry takes it again", async () => {
    const broken = (async function* () {
      yield content.subarray(0, 500_000);
      throw new Error("reset by peer");
    })();
    await assert.rejects(uploads.append(id, broken, {}), { kind: "unavailable" });
    assert.equal(await uploads.offset(id), 0);
    assert.deepEqual(await uploads.append(id, body(content), {}), { offset: content.length });
    await uploads.commit(id, digest);
  });

  it("does not commit what was not acknowledged", async () => {
    await uploads.append(id, body(content), {});
    const broken = (async function* () {
      yield content;
      throw new Error("reset by peer");
    })();
    await assert.rejects(uploads.append(id, broken, {}));
    assert.equal((await uploads.commit(id, digest)).size, content.length);
  });

  it("fences an older writer when a newer request comes, and starts where that was acknowledged", async () => {
    const held = heldBody();
    const older = assert.rejects(uploads.append(id, held.body, {}), { kind: "fenced" });
    await held.taken;
    assert.deepEqual(await uploads.append(id, body(content), {}), { offset: content.length });
    await older;
    held.goOn(content);
    await uploads.commit(id, digest);
  });

  it("lets the newest of several win", async () => {
    const held = heldBody();
    const outcomes = await Promise.allSettled([
      uploads.append(id, held.body, {}),
      uploads.append(id, body(content.subarray(5)), {}),
      uploads.append(id, body(content), {}),
    ]);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ["rejected", "rejected", "fulfilled"],
    );
    await uploads.commit(id, digest);
  });

  it("stops for an aborting caller, whose body may never end", async () => {
    const abort = new AbortController();
    const held = heldBody();
    const stopped = assert.rejects(uploads.append(id, held.body, { signal: abort.signal }), { message: "gone" });
    await held.taken;
    abort.abort(new Error("gone"));
    await stopped;
    assert.equal(await uploads.offset(id), 0);
  });

  it("goes on after a restart from what was acknowledged", async () => {
    await uploads.append(id, body(content.subarray(0, 600_000)), {});
    const held = heldBody();
    const cutOff = assert.rejects(uploads.append(id, held.body, {}), { kind: "fenced" });
    await held.taken;
    await close();
    await cutOff;
    await open();
    assert.equal(await uploads.offset(id), 600_000);
    await uploads.append(id, body(content.subarray(600_000)), { offset: 600_000 });
    assert.equal((await uploads.commit(id, digest)).size, content.length);
  });

  it("commits under another algorithm than it was begun with", async () => {
    await uploads.append(id, body(content), {});
    const long = digestOf(content, "sha512");
    assert.deepEqual(await uploads.commit(id, long), { digest: long, size: content.length });
  });

  it("takes a last body again in the same place when its answer was lost before the commit", async () => {
    await uploads.append(id, body(content.subarray(0, 400_000)), {});
    const last = content.subarray(400_000);
    assert.deepEqual(await uploads.append(id, body(last), { final: true }), { offset: content.length });
    assert.equal(await uploads.offset(id), 400_000);
    assert.deepEqual(await uploads.append(id, body(last), { final: true }), { offset: content.length });
    assert.equal((await uploads.commit(id, digest)).size, content.length);
  });

  it("commits a last body under another algorithm than it was begun with", async () => {
    await uploads.append(id, body(content), { final: true });
    assert.equal((await uploads.commit(id, digestOf(content, "sha512"))).size, content.length);
  });

  it("does not take a digest that others have stored for an upload's own", async () => {
    await uploads.append(id, body(content), {});
    await uploads.commit(id, digest);
    const other = `other-${id}`;
    await uploads.begin(other, "sha256");
    await uploads.cancel(other);
    await assert.rejects(uploads.commit(other, digest), { kind: "not-found" });
    await assert.rejects(uploads.commit("never-begun", digest), { kind: "not-found" });
  });

  it("forgets a cancelled one, and says so again without complaint", async () => {
    await uploads.append(id, body(content), {});
    await uploads.cancel(id);
    await uploads.cancel(id);
    await assert.rejects(uploads.offset(id), { kind: "not-found" });
    await assert.rejects(uploads.commit(id, digest), { kind: "not-found" });
  });

  it("refuses ids that are no client's, and one that is taken", async () => {
    for (const bad of ["", "fetch-abc", "../x", "x".repeat(129)]) {
      await assert.rejects(uploads.begin(bad, "sha256"), { kind: "invalid" });
      await assert.rejects(uploads.append(bad, body(content), {}), { kind: "invalid" });
    }
    await assert.rejects(uploads.begin(id, "sha256"), { kind: "conflict" });
    await assert.rejects(uploads.append("unknown", body(content), {}), { kind: "not-found" });
  });
});
