import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

let home: string;
before(async () => {
  home = await mkdtemp(join(tmpdir(), "meridian-durability-"));
});
after(() => rm(home, { recursive: true, force: true }));

const STORE = JSON.stringify(new URL("./lmdb-store.ts", import.meta.url).href);

/** Eight writers, each of which says a key on standard output once it was flushed; the last word is followed by kill -9. */
const WRITER = `
  import { writeSync } from "node:fs";
  const { openLmdbStore } = await import(${STORE});
  const store = await openLmdbStore({ path: process.argv[1] });
  let left = Number(process.argv[2]);
  await Promise.all(Array.from({ length: 8 }, async (_, writer) => {
    for (let n = 0; ; n++) {
      const key = writer + "/" + n;
      await store.transaction((tx) => tx.put(key, Buffer.alloc(300, key)));
      await store.flushed();
      writeSync(1, key + "\\n");
      if (--left === 0) process.kill(process.pid, "SIGKILL");
    }
  }));`;

/** Says every key it finds. */
const READER = `
  const { openLmdbStore } = await import(${STORE});
  await using store = await openLmdbStore({ path: process.argv[1] });
  for (const [key] of store.range({})) console.log(key);`;

function run(script: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcess {
  const flags = ["--conditions=meridian-source", "--input-type=module", "--eval", script, ...args];
  const stdio: ["ignore", "pipe", "inherit"] = ["ignore", "pipe", "inherit"];
  return spawn(process.execPath, flags, { stdio, env: { ...process.env, ...environment } });
}

async function lines(child: ChildProcess): Promise<string[]> {
  const seen: string[] = [];
  for await (const line of createInterface({ input: child.stdout! })) seen.push(line);
  return seen;
}

test("what flushed() acknowledged survives kill -9, in what was synced to disk alone", {
  timeout: 60_000,
}, async () => {
  const path = join(home, "store");
  for (const count of [40, 300]) {
    const writer = run(WRITER, [path, String(count)]);
    const acknowledged = await lines(writer);
    if (writer.signalCode === null) await once(writer, "exit");
    assert.equal(writer.signalCode, "SIGKILL");
    assert.equal(acknowledged.length, count);

    // "safe" makes LMDB return to the newest transaction that it had synced, as after a power loss, although the
    // page cache still has later ones.
    for (const restore of ["safe", ""]) {
      const found = new Set(await lines(run(READER, [path], { LMDB_RESTORE: restore })));
      const lost = acknowledged.filter((key) => !found.has(key));
      assert.deepEqual(lost, [], `restored with "${restore}"`);
    }
  }
});

/** Fills the store until it may not grow its file any more, frees nothing, and goes on. */
const FILLER = `
  const { openLmdbStore } = await import(${STORE});
  const store = await openLmdbStore({ path: process.argv[1] });
  process.on("SIGXFSZ", () => {});
  const value = Buffer.alloc(20_000, 1);
  let stored = 0;
  try {
    for (;;) {
      await store.transaction((tx) => tx.put("k" + stored, value));
      await store.flushed();
      stored++;
    }
  } catch (error) {
    console.log(error.name, error.kind);
  }
  await store.flushed().catch(() => undefined);
  console.log([...store.range({})].length >= stored ? "kept" : "lost", stored > 10);
  await store[Symbol.asyncDispose]();
  console.log("closed");`;

test("a full disk fails the transaction, not the process, and loses nothing", { timeout: 60_000 }, async () => {
  const flags = ["--conditions=meridian-source", "--input-type=module", "--eval", FILLER, join(home, "full")];
  const limited = spawn("sh", ["-c", 'ulimit -f 4096; exec "$0" "$@"', process.execPath, ...flags], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  assert.deepEqual(await lines(limited), ["KeyValueError write", "kept true", "closed"]);
});
