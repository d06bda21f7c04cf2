import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { systemTimers } from "@meridian/runtime";
import { orderedStoreContract } from "./contract.ts";
import { openLmdbStore } from "./lmdb-store.ts";

let home: string;
let made = 0;
before(async () => {
  home = await mkdtemp(join(tmpdir(), "meridian-volatile-"));
});
after(() => rm(home, { recursive: true, force: true }));

const freshPath = (): string => join(home, String(made++));
const openVolatile = (path: string) => openLmdbStore({ path, volatile: true });

orderedStoreContract("lmdb, volatile", () => openVolatile(freshPath()));

/** What an opening finds under the key, after `between` has done something to the folder. */
async function afterReopening(between: (path: string) => Promise<void>): Promise<string | undefined> {
  const path = freshPath();
  {
    await using store = await openVolatile(path);
    await store.transaction((tx) => tx.put("a", Buffer.from("1")));
  }
  await between(path);
  await using store = await openVolatile(path);
  const value = store.get("a");
  return value && Buffer.from(value).toString();
}

const mark = (path: string, boot: string, clean: boolean): Promise<void> =>
  writeFile(join(path, "boot.json"), JSON.stringify({ boot, clean }));

test("keeps its entries over a clean close, whichever start of the machine follows", async () => {
  assert.equal(await afterReopening(async () => {}), "1");
  assert.equal(await afterReopening((path) => mark(path, "another", true)), "1");
});

test("is empty when the machine went down while it was open", async () => {
  assert.equal(await afterReopening((path) => mark(path, "another", false)), undefined);
});

test("is empty when nobody can say how it was left", async () => {
  assert.equal(await afterReopening((path) => rm(join(path, "boot.json"))), undefined);
  assert.equal(await afterReopening((path) => writeFile(join(path, "boot.json"), "{")), undefined);
});

test("keeps what was committed when its process is killed", async () => {
  const path = freshPath();
  const script = `
    import { openLmdbStore } from ${JSON.stringify(new URL("./lmdb-store.ts", import.meta.url).href)};
    const store = await openLmdbStore({ path: ${JSON.stringify(path)}, volatile: true });
    await store.transaction((tx) => tx.put("a", Buffer.from("1")));
    process.stdout.write("committed");
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ["--conditions=meridian-source", "--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
  assert.equal(JSON.parse(await readFile(join(path, "boot.json"), "utf8")).clean, false);
  await using store = await openVolatile(path);
  assert.equal(Buffer.from(store.get("a")!).toString(), "1");
});

test("what processes die of, one after the other, is dropped where it can be made again, and nowhere else", async () => {
  const died = (path: string, deaths: number): Promise<void> =>
    writeFile(join(path, "boot.json"), JSON.stringify({ boot, clean: false, deaths }));
  const { boot } = await bootOf();
  const droppable = { timers: systemTimers, corrupted: () => {} };
  for (const [deaths, mayDrop, left] of [
    [1, true, "1"],
    [2, true, undefined],
    [2, false, "1"],
  ] as const) {
    const path = freshPath();
    {
      await using store = await openVolatile(path);
      await store.transaction((tx) => tx.put("a", Buffer.from("1")));
    }
    await died(path, deaths);
    await using store = await openLmdbStore({ path, volatile: true, ...(mayDrop && { droppable }) });
    const value = store.get("a");
    assert.equal(value && Buffer.from(value).toString(), left, `${deaths} deaths`);
    const mark = JSON.parse(await readFile(join(path, "boot.json"), "utf8"));
    assert.equal(mark.deaths, left === undefined || !mayDrop ? 0 : deaths + 1);
  }
});

test("a file that is no database any more ends processes, until it is dropped", { timeout: 60_000 }, async () => {
  const path = freshPath();
  {
    await using store = await openVolatile(path);
    await store.transaction((tx) => tx.put("a", Buffer.from("1")));
  }
  await writeFile(join(path, "data.mdb"), Buffer.alloc(100_000, 0x5a));
  const script = `
    import { openLmdbStore } from ${JSON.stringify(new URL("./lmdb-store.ts", import.meta.url).href)};
    import { systemTimers as timers } from "@meridian/runtime";
    const droppable = { timers, corrupted: () => {} };
    await using store = await openLmdbStore({ path: ${JSON.stringify(path)}, volatile: true, droppable });
    await store.transaction((tx) => tx.put("a", Buffer.from("2")));
  `;
  const args = ["--conditions=meridian-source", "--input-type=module", "-e", script];
  const endings: (number | null)[] = [];
  for (let round = 0; round < 4; round += 1) {
    const child = spawn(process.execPath, args, { stdio: "ignore", cwd: import.meta.dirname });
    const [code] = (await once(child, "exit")) as [number | null];
    endings.push(code);
    if (code === 0) break;
  }
  assert.equal(endings.at(-1), 0, `${endings}`);
  assert.ok(endings.length <= 4);
  await using store = await openVolatile(path);
  assert.equal(Buffer.from(store.get("a")!).toString(), "2");
});

test("a page that cannot be read condemns a store that can be made again, once", async () => {
  const path = freshPath();
  const rows = Array.from({ length: 20_000 }, (_, index) => `key ${index}`);
  {
    await using store = await openVolatile(path);
    await store.transaction((tx) => {
      for (const key of rows) tx.put(key, Buffer.alloc(100, 7));
    });
  }
  // What is read first stands at both ends.
  await spoil(path, 40, 200);
  let told = 0;
  const droppable = { timers: systemTimers, corrupted: () => (told += 1) };
  {
    await using store = await openLmdbStore({ path, volatile: true, droppable });
    for (const _ of [1, 2]) {
      assert.throws(() => {
        for (const key of rows) store.get(key);
        for (const _row of store.range({}));
      }, /MDB_/);
    }
    assert.equal(told, 1);
  }
  await using again = await openLmdbStore({ path, volatile: true, droppable });
  assert.equal(again.get("key 1"), undefined);
});

test("a store that can be made again is, when what is read first makes no sense", async () => {
  const path = freshPath();
  {
    await using store = await openVolatile(path);
    await store.transaction((tx) => {
      for (let index = 0; index < 20_000; index += 1) tx.put(`key ${index}`, Buffer.alloc(100, 7));
    });
  }
  await spoil(path, 3);
  await assert.rejects(openVolatile(path), /MDB_/);
  await using store = await openLmdbStore({
    path,
    volatile: true,
    droppable: { timers: systemTimers, corrupted: () => {} },
  });
  assert.equal(store.get("key 1"), undefined);
});

/** Overwrites every second page from one on, up to another, or the end. */
async function spoil(path: string, from: number, to = Number.POSITIVE_INFINITY): Promise<void> {
  await using file = await open(join(path, "data.mdb"), "r+");
  const { size } = await file.stat();
  for (let page = from; page < Math.min(to, size / 4_096); page += 2)
    await file.write(Buffer.alloc(4_096, 0xab), 0, 4_096, page * 4_096);
}

/** The mark of this start of the machine. */
async function bootOf(): Promise<{ boot: string }> {
  const path = freshPath();
  await using _store = await openVolatile(path);
  return JSON.parse(await readFile(join(path, "boot.json"), "utf8")) as { boot: string };
}
