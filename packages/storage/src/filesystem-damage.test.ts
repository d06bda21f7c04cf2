import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmod, mkdir, open, readFile, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { type Digest, digestOf } from "@meridian/oci";
import { createSystemClock } from "@meridian/runtime";
import type { BlobChecks, Damage } from "./blob-checks.ts";
import type { BlobStore } from "./blob-store.ts";
import { collect, pattern, put, rejects } from "./contract-content.ts";
import { openStoreIn, temporaryFolder } from "./filesystem-fixture.ts";
import { withSmallBlobCache } from "./small-blob-cache.ts";

const isRoot = process.getuid?.() === 0;

/** A store in a folder of its own, with what it said of damage. */
async function watched(): Promise<
  AsyncDisposable & {
    store: BlobStore;
    checks: BlobChecks;
    told: Damage[];
    root: string;
    place(digest: Digest): string;
  }
> {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const store = stack.use(await openStoreIn(folder.path));
  const checks = store.checks!;
  const told: Damage[] = [];
  stack.use(checks.watch((damage) => void told.push(damage)));
  const place = (digest: Digest): string => join(folder.path, "blobs", "sha256", digest.slice(7, 9), digest.slice(7));
  return { store, checks, told, root: folder.path, place, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function flip(path: string, at: number): Promise<void> {
  await using file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0]! ^= 1;
  await file.write(byte, 0, 1, at);
}

async function replaceBy(path: string, make: () => Promise<unknown>): Promise<void> {
  await rm(path);
  await make();
}

/** What may become of a blob's file, and what is then said of it. */
const DAMAGES: ReadonlyArray<[string, (path: string, size: number) => Promise<void>, RegExp]> = [
  ["a bit flipped in the middle", (path, size) => flip(path, size / 2), /do not hash/],
  ["a bit flipped at the end", (path, size) => flip(path, size - 1), /do not hash/],
  ["a lost end", (path, size) => truncate(path, size - 1), /do not hash/],
  ["all bytes lost", (path) => truncate(path, 0), /do not hash/],
  ["bytes too many", (path) => writeFile(path, "more", { flag: "a" }), /do not hash/],
  [
    "a folder with something in it",
    (path) => replaceBy(path, () => mkdir(join(path, "lost"), { recursive: true })),
    /no file/,
  ],
  ["a pipe", (path) => replaceBy(path, async () => spawnSync("mkfifo", [path])), /no file/],
  ["a link to itself", (path) => replaceBy(path, () => symlink(path, path)), /leads nowhere/],
];

for (const [name, damage, problem] of DAMAGES) {
  test(`${name}: never read, moved aside once for many readers, told, and healed by the next push`, async () => {
    await using at = await watched();
    const content = pattern(1_000_000);
    const digest = await put(at.store, "u", content);
    await put(at.store, "other", pattern(5));
    await at.store.usage();
    await damage(at.place(digest), content.length);
    const sent: number[] = [];
    const reading = Array.from({ length: 5 }, async () => {
      await using blob = await at.store.open(digest);
      if (blob === undefined) return;
      const whole = blob.read({ start: 0, end: blob.size }, { write: (chunk) => void sent.push(chunk.length) });
      await rejects(whole, "unavailable");
    });
    await Promise.all(reading);
    assert.deepEqual(sent, []);
    assert.equal(await at.store.open(digest), undefined);
    assert.equal(await at.store.stat(digest), undefined);
    assert.deepEqual(
      at.told.map((one) => one.digest),
      [digest],
    );
    assert.match(at.told[0]!.problem, problem);
    const [kept, ...more] = await Array.fromAsync(at.checks.quarantined());
    assert.equal(kept?.digest, digest);
    assert.equal(dirname(kept.path), join(at.root, "quarantine"));
    assert.deepEqual(more, []);
    await put(at.store, "again", content);
    await using healed = (await at.store.open(digest))!;
    assert.deepEqual(await collect(healed), content);
    assert.deepEqual((await Array.fromAsync(at.store.list())).map((info) => info.size).sort(), [1_000_000, 5]);
    assert.equal((await at.store.usage()).blobs, 2);
  });

  test(`${name}: a check finds it without a reader`, async () => {
    await using at = await watched();
    const digest = await put(at.store, "u", pattern(1_000_000));
    assert.equal(await at.checks.check(digest), "right");
    await damage(at.place(digest), 1_000_000);
    assert.equal(await at.checks.check(digest), "damaged");
    assert.equal(await at.checks.check(digest), "absent");
    assert.equal(at.told.length, 1);
  });
}

test("a file that this process may not read is moved aside by whoever opens it", async () => {
  await using folder = await temporaryFolder();
  if (isRoot) await chmod(folder.path, 0o777);
  // Root may do everything, so be nobody for a moment.
  if (isRoot) process.seteuid?.(65_534);
  try {
    await using store = await openStoreIn(join(folder.path, "store"));
    const digest = await put(store, "u", pattern(1000));
    const other = await put(store, "v", pattern(2000));
    for (const one of [digest, other]) {
      await chmod(join(folder.path, "store/blobs/sha256", one.slice(7, 9), one.slice(7)), 0);
    }
    assert.equal(await store.open(digest), undefined);
    assert.deepEqual(await Array.fromAsync(store.checks!.inspect()), [
      { digest: other, problem: "this process may not read it" },
    ]);
    await put(store, "w", pattern(1000));
    assert.equal((await store.stat(digest))?.size, 1000);
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test("an inspection moves aside what is no readable file, and reads nothing", async () => {
  await using at = await watched();
  const digests = await Promise.all([1, 2, 3, 4].map((i) => put(at.store, `u${i}`, pattern(1000 + i))));
  const [folder, link, rotten, whole] = digests as [Digest, Digest, Digest, Digest];
  await replaceBy(at.place(folder), () => mkdir(at.place(folder)));
  await replaceBy(at.place(link), () => symlink("/nowhere/at/all", at.place(link)));
  await flip(at.place(rotten), 3);
  await writeFile(join(at.root, "blobs", "sha256", "stray"), "no folder");
  const found = (await Array.fromAsync(at.checks.inspect())).map((damage) => damage.digest);
  assert.deepEqual(found.sort(), [folder, link].sort());
  assert.deepEqual((await Array.fromAsync(at.store.list())).map((info) => info.digest).sort(), [rotten, whole].sort());
});

test("a large copy is hashed while it is sent, and its last piece never comes when it is wrong", async () => {
  await using at = await watched();
  const size = 65 * 1024 * 1024;
  const content = pattern(size);
  const digest = await put(at.store, "u", content);
  await flip(at.place(digest), size / 2);
  let sent = 0;
  const sink = {
    write(chunk: Uint8Array): void {
      sent += chunk.byteLength;
    },
  };
  {
    await using blob = (await at.store.open(digest))!;
    await rejects(blob.read({ start: 0, end: size }, sink), "digest-mismatch");
  }
  assert.equal(sent, size - 256 * 1024);
  assert.equal(await at.store.stat(digest), undefined);
  await put(at.store, "v", content);
  await using again = (await at.store.open(digest))!;
  assert.equal(digestOf(await collect(again)), digest);
});

test("a reader that gives up in the midst of the first hashing spoils it for nobody", async () => {
  await using folder = await temporaryFolder();
  const content = pattern(8_000_000);
  {
    await using store = await openStoreIn(folder.path);
    await put(store, "u", content);
  }
  await using store = await openStoreIn(folder.path);
  const digest = digestOf(content);
  const told: Damage[] = [];
  using _watching = store.checks!.watch((damage) => void told.push(damage));
  const [first, second] = [(await store.open(digest))!, (await store.open(digest))!];
  const span = { start: 0, end: content.length };
  const given = first.read(span, { write() {} }).catch((error: unknown) => error);
  const parts: Buffer[] = [];
  const read = second.read(span, { write: (chunk) => void parts.push(Buffer.from(chunk)) });
  await first[Symbol.asyncDispose]();
  await given;
  await read;
  await second[Symbol.asyncDispose]();
  assert.deepEqual(Buffer.concat(parts), content);
  assert.deepEqual(told, []);
});

test("a part of a large copy starts a check of the whole", async () => {
  await using at = await watched();
  const size = 65 * 1024 * 1024;
  const digest = await put(at.store, "u", pattern(size));
  await flip(at.place(digest), size / 2);
  await using blob = (await at.store.open(digest))!;
  const found = new Promise<Damage>((resolve) => at.checks.watch(resolve));
  await collect(blob, { start: 10, end: 20 });
  assert.equal((await found).digest, digest);
});

test("what is written to while it is read is not sent to its end, and is looked at", async () => {
  await using at = await watched();
  const content = pattern(3_000_000);
  const digest = await put(at.store, "u", content);
  await using blob = (await at.store.open(digest))!;
  const found = new Promise<Damage>((resolve) => at.checks.watch(resolve));
  let sent = 0;
  const sink = {
    async write(chunk: Uint8Array): Promise<void> {
      if (sent === 0) await flip(at.place(digest), 2_999_999);
      sent += chunk.byteLength;
    },
  };
  await rejects(blob.read({ start: 0, end: content.length }, sink), "digest-mismatch");
  assert.ok(sent < content.length);
  assert.equal((await found).digest, digest);
});

test("what is cut while it is read can be gone on with elsewhere", async () => {
  await using at = await watched();
  const content = pattern(3_000_000);
  const digest = await put(at.store, "u", content);
  await using blob = (await at.store.open(digest))!;
  const found = new Promise<Damage>((resolve) => at.checks.watch(resolve));
  const parts: Buffer[] = [];
  const sink = {
    async write(chunk: Uint8Array): Promise<void> {
      parts.push(Buffer.from(chunk));
      if (parts.length === 1) await truncate(at.place(digest), 1_000_000);
    },
  };
  await rejects(blob.read({ start: 0, end: content.length }, sink), "unavailable");
  const sent = Buffer.concat(parts);
  assert.deepEqual(sent, content.subarray(0, sent.length));
  assert.equal((await found).digest, digest);
});

test("a copy that was replaced by a push while it was found wrong stays", async () => {
  await using at = await watched();
  const content = pattern(3_000_000);
  const digest = await put(at.store, "u", content);
  await flip(at.place(digest), 5);
  let replaced: Promise<unknown> | undefined;
  const pace = async (): Promise<void> => {
    replaced ??= put(at.store, "v", content);
    await replaced;
  };
  assert.equal(await at.checks.check(digest, { pace }), "damaged");
  assert.equal(at.told.length, 0);
  assert.deepEqual(await readFile(at.place(digest)), content);
});

test("a small blob that was moved aside is not said to be stored because it is in memory", async () => {
  await using at = await watched();
  const store = withSmallBlobCache(at.store, { maxBytes: 1e6 });
  const content = pattern(1000);
  const digest = await put(store, "u", content);
  await using blob = (await store.open(digest))!;
  assert.deepEqual(await collect(blob), content);
  await flip(at.place(digest), 5);
  assert.equal(await store.checks?.check(digest), "damaged");
  assert.equal(await store.stat(digest), undefined);
  assert.equal(store.cached(digest), undefined);
});

test("the quarantine is emptied after a week", async () => {
  await using folder = await temporaryFolder();
  const system = createSystemClock();
  let ahead = 0;
  const clock = { now: () => system.now() + ahead, monotonic: () => system.monotonic() };
  {
    await using store = await openStoreIn(folder.path, { clock });
    const digest = await put(store, "u", pattern(1000));
    await flip(join(folder.path, "blobs/sha256", digest.slice(7, 9), digest.slice(7)), 1);
    assert.equal(await store.checks?.check(digest), "damaged");
  }
  for (const [days, kept] of [
    [6, 1],
    [8, 0],
  ] as const) {
    ahead = days * 24 * 3600 * 1000;
    await using store = await openStoreIn(folder.path, { clock });
    assert.equal((await Array.fromAsync(store.checks!.quarantined())).length, kept);
  }
  assert.ok((await stat(join(folder.path, "quarantine"))).isDirectory());
});
