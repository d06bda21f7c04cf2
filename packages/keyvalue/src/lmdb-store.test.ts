import assert from "node:assert/strict";
import { chmod, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { orderedStoreContract } from "./contract.ts";
import { KeyValueError } from "./key-value-error.ts";
import { openLmdbStore } from "./lmdb-store.ts";

let home: string;
let made = 0;
before(async () => {
  home = await mkdtemp(join(tmpdir(), "meridian-keyvalue-"));
});
after(() => rm(home, { recursive: true, force: true }));

const freshPath = (): string => join(home, String(made++));

orderedStoreContract("lmdb", () => openLmdbStore({ path: freshPath() }));

const refusedAs = (kind: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof KeyValueError);
  assert.equal(error.kind, kind);
  assert.match(error.message, message);
  return true;
};

test("keeps its entries from one opening to the next", async () => {
  const path = freshPath();
  {
    await using store = await openLmdbStore({ path });
    await store.transaction((tx) => tx.put("a", Buffer.from("1")));
  }
  await using store = await openLmdbStore({ path });
  assert.equal(Buffer.from(store.get("a")!).toString(), "1");
});

test("its folder is the owner's alone", async () => {
  const path = freshPath();
  await using _store = await openLmdbStore({ path });
  assert.equal((await stat(path)).mode & 0o077, 0);
});

test("grows far beyond the address space it began with", async () => {
  await using store = await openLmdbStore({ path: freshPath(), mapSizeBytes: 1 << 20 });
  const value = new Uint8Array(50_000).fill(7);
  await store.transaction((tx) => {
    for (let i = 0; i < 400; i++) tx.put(`k${i}`, value);
  });
  await store.flushed();
  assert.equal([...store.range({})].length, 400);
});

test("refuses a newer format and an older one that nobody upgrades; upgrades otherwise", async () => {
  const path = freshPath();
  const open = (format: number) => openLmdbStore({ path, format });
  await (await open(2))[Symbol.asyncDispose]();
  await assert.rejects(open(1), refusedAs("format", /has format 2, newer than this program's 1/));
  await assert.rejects(open(3), refusedAs("format", /has format 2, which this program \(3\) cannot upgrade/));
  {
    await using store = await openLmdbStore({
      path,
      format: 3,
      upgrade: (tx, from) => tx.put("from", Buffer.from(String(from))),
    });
    assert.equal(Buffer.from(store.get("from")!).toString(), "2");
  }
  await (await open(3))[Symbol.asyncDispose]();
});

test("an upgrade that throws leaves the old format and entries", async () => {
  const path = freshPath();
  await (await openLmdbStore({ path }))[Symbol.asyncDispose]();
  const upgrade = (): never => {
    throw new Error("half-way");
  };
  await assert.rejects(openLmdbStore({ path, format: 2, upgrade }), /half-way/);
  await using store = await openLmdbStore({ path, format: 1 });
  assert.deepEqual([...store.range({})], []);
});

test("the format mark survives a clear", async () => {
  const path = freshPath();
  {
    await using store = await openLmdbStore({ path, format: 5 });
    await store.clear();
  }
  await assert.rejects(openLmdbStore({ path, format: 4 }), refusedAs("format", /newer/));
});

test("says in one line why a folder cannot be used", async () => {
  const path = freshPath();
  await writeFile(path, "a file");
  await assert.rejects(openLmdbStore({ path }), refusedAs("open", /cannot open the store in .*(EEXIST|ENOTDIR)/));
});

test("says so when the rights are missing", async () => {
  const path = freshPath();
  await (await openLmdbStore({ path }))[Symbol.asyncDispose]();
  await chmod(path, 0);
  // Root may do everything, so be nobody for a moment.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    await assert.rejects(
      openLmdbStore({ path }),
      refusedAs("open", /cannot open the store in .*(EACCES|[Pp]ermission)/),
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
    await chmod(path, 0o700);
  }
});
