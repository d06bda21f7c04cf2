import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import { isContentError } from "@meridian/oci";
import { createSystemClock, systemRandom } from "@meridian/runtime";
import { open } from "lmdb";
import { allEntries, text, until } from "../contract/waiting.ts";
import { eventLogContract, type LogServer } from "../contract.ts";
import type { EventLogs } from "../event-log.ts";
import { openEmbeddedLogs } from "./open-embedded-logs.ts";

eventLogContract("embedded", startFolder, { shared: false, reconnects: false });

/** A folder as "server": a restart closes the file, and so do two who want it one after the other. */
async function startFolder(): Promise<LogServer> {
  const folder = await mkdtemp(join(tmpdir(), "meridian-eventlog-"));
  let current: EventLogs | undefined;
  const close = async (): Promise<void> => {
    await current?.[Symbol.asyncDispose]();
    current = undefined;
  };
  return {
    connect: async (writer, { clock = createSystemClock() } = {}) => {
      await close();
      current = await openEmbeddedLogs({ path: join(folder, "log"), site: "eu", writer, clock, random: systemRandom });
      return current;
    },
    restart: async (whileStopped) => {
      await close();
      await whileStopped?.(join(folder, "log"));
    },
    [Symbol.asyncDispose]: async () => {
      await close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

describe("embedded event log", () => {
  test("a full disk is told as that at once, ends no process and loses nothing", { timeout: 60_000 }, async () => {
    const path = await mkdtemp(join(tmpdir(), "meridian-eventlog-full-"));
    const script = join(import.meta.dirname, "fill-disk.fixture.ts");
    const flags = ["--conditions=meridian-source", script, path];
    const child = spawn("sh", ["-c", 'ulimit -f 4096; exec "$0" "$@"', process.execPath, ...flags], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const said: string[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => said.push(line));
    await once(child, "close");
    await rm(path, { recursive: true });
    const small = said.splice(3, 1);
    assert.deepEqual(said, ["full", "full full", "kept", "closed"]);
    assert.match(`${small}`, /^(done|full)$/, "a small change may still find a free page");
  });

  test("kill -9 during appends loses nothing that was acknowledged", async () => {
    const path = await mkdtemp(join(tmpdir(), "meridian-eventlog-kill-"));
    const script = join(import.meta.dirname, "append-forever.fixture.ts");
    const child = spawn(process.execPath, ["--conditions=meridian-source", script, path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const acknowledged: Array<[number, number]> = [];
    createInterface({ input: child.stdout }).on("line", (line) => {
      const [sequence, value] = line.split(" ").map(Number);
      acknowledged.push([sequence!, value!]);
    });
    await until("appends of the child", () => acknowledged.length >= 300);
    child.kill("SIGKILL");
    await once(child, "close");

    const clock = createSystemClock();
    await using logs = await openEmbeddedLogs({ path, site: "eu", writer: "eu/reader", clock, random: systemRandom });
    const log = await logs.open("META_eu");
    const stored = new Map((await allEntries(log)).map(({ sequence, payload }) => [sequence, text(payload)]));
    for (const [sequence, value] of acknowledged) {
      assert.equal(stored.get(sequence), String(value));
    }
    await logs[Symbol.asyncDispose]();
    await rm(path, { recursive: true });
  });

  test("a file of a newer format is refused", async () => {
    const path = await mkdtemp(join(tmpdir(), "meridian-eventlog-format-"));
    const options = { path, site: "eu", writer: "eu/site", clock: createSystemClock(), random: systemRandom };
    await (await openEmbeddedLogs(options))[Symbol.asyncDispose]();
    const file = open({ path: join(path, "log.mdb"), noSubdir: true, maxDbs: 8 });
    await file.openDB("meta", { encoding: "msgpack", keyEncoding: "ordered-binary" }).put("format", 2);
    await file.close();
    const refused = (error: unknown) => isContentError(error, "invalid") && /has format 2/.test(error.message);
    await assert.rejects(openEmbeddedLogs(options), refused);
    await rm(path, { recursive: true });
  });
});
