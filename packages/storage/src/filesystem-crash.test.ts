import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { digestOf } from "@meridian/oci";
import { collect, pattern, put } from "./contract-content.ts";
import { openStoreIn, temporaryFolder } from "./filesystem-fixture.ts";

const modules = {
  fixture: JSON.stringify(new URL("./filesystem-fixture.ts", import.meta.url).href),
  contract: JSON.stringify(new URL("./contract-content.ts", import.meta.url).href),
};

/** Uploads in pieces, syncs, says how far, and after the given number of words is killed in mid-write. */
const UPLOADER = `
  import { writeSync } from "node:fs";
  const { openStoreIn } = await import(${modules.fixture});
  const { pattern } = await import(${modules.contract});
  const store = await openStoreIn(process.argv[1]);
  const upload = await store.begin("u");
  const content = pattern(12_000_000);
  for (let at = 0; ; at += 1_000_000) {
    for (let part = at; part < at + 1_000_000; part += 50_000) await upload.write(content.subarray(part, part + 50_000));
    if (at === 9_000_000) {
      void upload.write(content.subarray(0, 300_000));
      process.kill(process.pid, "SIGKILL");
    }
    if (at % 2_000_000 === 0) {
      await upload.sync();
      writeSync(1, upload.offset + "\\n");
    }
  }`;

/** Commits one blob after another, each said on standard output, until it is killed at the last word. */
const COMMITTER = `
  import { writeSync } from "node:fs";
  const { openStoreIn } = await import(${modules.fixture});
  const { pattern, put } = await import(${modules.contract});
  const store = await openStoreIn(process.argv[1]);
  let left = 30;
  await Promise.all([1, 2, 3, 4].map(async (client) => {
    for (let i = 0; ; i++) {
      const digest = await put(store, client + "-" + i, pattern(20_000 + i, client));
      writeSync(1, digest + "\\n");
      if (--left === 0) process.kill(process.pid, "SIGKILL");
    }
  }));`;

async function runUntilKilled(script: string, root: string): Promise<string[]> {
  const flags = ["--conditions=meridian-source", "--input-type=module", "--eval", script, root];
  const child = spawn(process.execPath, flags, { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit");
  const lines = await Array.fromAsync(createInterface({ input: child.stdout }));
  assert.deepEqual((await exit)[1], "SIGKILL");
  return lines;
}

test("an upload killed in mid-write resumes at the offset that it synced last", { timeout: 60_000 }, async () => {
  await using folder = await temporaryFolder();
  const synced = await runUntilKilled(UPLOADER, folder.path);
  assert.equal(synced.at(-1), "9000000");
  await using store = await openStoreIn(folder.path);
  const content = pattern(12_000_000);
  await using upload = (await store.resume("u"))!;
  assert.equal(upload.offset, 9_000_000);
  assert.deepEqual(await collect(upload), content.subarray(0, 9_000_000));
  await upload.write(content.subarray(9_000_000));
  await upload.commit(digestOf(content));
  await using blob = (await store.open(digestOf(content)))!;
  assert.deepEqual(await collect(blob), content);
});

test("every blob whose commit was answered is whole after kill -9, and no other is half there", {
  timeout: 60_000,
}, async () => {
  await using folder = await temporaryFolder();
  const committed = await runUntilKilled(COMMITTER, folder.path);
  assert.ok(committed.length >= 30);
  await using store = await openStoreIn(folder.path);
  const listed = await Array.fromAsync(store.list());
  const there = new Set<string>(listed.map(({ digest }) => digest));
  assert.deepEqual(
    committed.filter((digest) => !there.has(digest)),
    [],
  );
  for (const { digest } of listed) {
    await using blob = (await store.open(digest))!;
    assert.equal(digestOf(await collect(blob)), digest);
  }
});

test("a start sweeps leftovers and old uploads, and nothing else", async () => {
  await using folder = await temporaryFolder();
  const uploads = join(folder.path, "uploads");
  {
    await using store = await openStoreIn(folder.path);
    await put(store, "done", pattern(10));
    for (const id of ["old", "young"]) {
      await using upload = await store.begin(id);
      await upload.write(pattern(10));
      await upload.sync();
    }
  }
  const eightDaysAgo = new Date(Date.now() - 8 * 24 * 3600 * 1000);
  await utimes(join(uploads, "old"), eightDaysAgo, eightDaysAgo);
  await writeFile(join(uploads, "committed-but-not-removed.state"), "");
  await mkdir(join(uploads, "no-upload"));
  await writeFile(join(uploads, ".probe-1-1"), "");
  await using store = await openStoreIn(folder.path);
  assert.deepEqual((await readdir(uploads)).sort(), ["young", "young.state"]);
  assert.equal((await store.resume("young"))?.offset, 10);
  assert.equal((await Array.fromAsync(store.list())).length, 1);
});

test("a running store sweeps uploads that nobody writes, but never one that is open", async () => {
  await using folder = await temporaryFolder();
  let now = Date.now();
  const ticks: Array<() => void> = [];
  const timers = {
    sleep: () => Promise.reject(new Error("not used")),
    after: () => ({ [Symbol.dispose]() {} }),
    every: (_ms: number, run: () => void) => {
      ticks.push(run);
      return { [Symbol.dispose]: () => void ticks.splice(0) };
    },
  };
  const swept = Promise.withResolvers<unknown>();
  const log = {
    debug() {},
    info: (_: string, fields?: unknown) => swept.resolve(fields),
    warn() {},
    error() {},
    child: () => log,
  };
  const clock = { now: () => now, monotonic: () => now };
  await using store = await openStoreIn(folder.path, { clock, timers, log, sweepAfterMs: 1000 });
  await using open = await store.begin("open");
  await (await store.begin("left"))[Symbol.asyncDispose]();
  now += 5000;
  for (const tick of ticks) tick();
  assert.deepEqual(await swept.promise, { root: folder.path, removed: 1 });
  assert.equal(await store.resume("left"), undefined);
  await open.write(pattern(10));
  await open.commit(digestOf(pattern(10)));
  await store[Symbol.asyncDispose]();
  assert.equal(ticks.length, 0);
});

test("a state file that cannot be read means that nothing was synced", async () => {
  await using folder = await temporaryFolder();
  {
    await using store = await openStoreIn(folder.path);
    await using upload = await store.begin("u");
    await upload.write(pattern(1000));
    await upload.sync();
  }
  await writeFile(join(folder.path, "uploads", "u.state"), "1 sha256 000");
  await using store = await openStoreIn(folder.path);
  await using upload = (await store.resume("u"))!;
  assert.equal(upload.offset, 0);
  await upload.commit(digestOf(""));
});

test("a commit replaces a blob that rotted on disk", async () => {
  await using folder = await temporaryFolder();
  await using store = await openStoreIn(folder.path);
  const content = pattern(1000);
  const digest = await put(store, "a", content);
  const path = join(folder.path, "blobs", "sha256", digest.slice(7, 9), digest.slice(7));
  await writeFile(path, pattern(1000, 2));
  await put(store, "b", content);
  await using blob = (await store.open(digest))!;
  assert.deepEqual(await collect(blob), content);
  assert.equal((await stat(path)).mode & 0o077, 0, "for its owner alone");
});
