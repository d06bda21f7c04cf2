import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { deserialize, serialize } from "node:v8";
import { type Clock, createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import { eventLogContract, type LogServer } from "../contract.ts";
import type { EventLogs } from "../event-log.ts";
import { createMemoryDisk, type MemoryDisk, openMemoryLogs } from "../memory.ts";

const atOnce = { beforeCommit: () => Promise.resolve(), beforeSync: () => Promise.resolve() };

function open(
  disk: MemoryDisk,
  timing = atOnce,
  writer = "eu/site",
  clock: Clock = createSystemClock(),
): Promise<EventLogs> {
  return openMemoryLogs({ disk, timing, site: "eu", writer, clock, random: systemRandom, timers: systemTimers });
}

eventLogContract("embedded on a disk in memory", startDisk, { shared: false, reconnects: false });

/**
 * A disk as "server": a restart closes the file, and so do two who want it one after the other. While it is stopped its
 * content lies in a folder, for the cases that set it back.
 */
async function startDisk(): Promise<LogServer> {
  const disk = createMemoryDisk();
  const home = await mkdtemp(join(tmpdir(), "memory-disk-"));
  const folder = join(home, "disk");
  const file = join(folder, "content");
  let current: EventLogs | undefined;
  const close = async (): Promise<void> => {
    await current?.[Symbol.asyncDispose]();
    current = undefined;
  };
  return {
    connect: async (writer, { clock = createSystemClock() } = {}) => {
      await close();
      current = await open(disk, atOnce, writer, clock);
      return current;
    },
    restart: async (whileStopped) => {
      await close();
      await mkdir(folder, { recursive: true });
      await writeFile(file, serialize(disk.backUp()));
      await whileStopped?.(folder);
      disk.restore(deserialize(await readFile(file)));
    },
    [Symbol.asyncDispose]: async () => {
      await close();
      await rm(home, { recursive: true });
    },
  };
}

test("a power loss takes what was committed and not synced, from the end", async () => {
  const disk = createMemoryDisk();
  let syncing = true;
  const never = new Promise<void>(() => {});
  const timing = { ...atOnce, beforeSync: () => (syncing ? Promise.resolve() : never) };
  const log = await (await open(disk, timing)).open("META_eu");
  const append = (text: string) => log.append({ subject: `m.eu.tag.${text}`, payload: Buffer.from(text) });
  await append("synced");
  syncing = false;
  void append("committed");
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(disk.unsynced, 1);
  disk.losePower(0);
  const after = await (await open(disk)).open("META_eu");
  assert.equal((await after.last("m.eu.tag.synced"))?.sequence, 2, "behind its session");
  assert.equal(await after.last("m.eu.tag.committed"), undefined);
});

test("what a transaction did before it threw is undone", async () => {
  const file = createMemoryDisk().openFile(atOnce);
  await file.write(() => file.meta.putSync("a", 1));
  const failed = file.write(() => {
    file.meta.putSync("a", 2);
    file.meta.putSync("b", 2);
    throw new Error("no");
  });
  await assert.rejects(failed, /no/);
  assert.deepEqual([file.meta.get("a"), file.meta.get("b")], [1, undefined]);
});
