import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isContentError } from "@meridian/oci";
import { available, bytes } from "../contract/waiting.ts";
import type { EventLog, EventLogs } from "../event-log.ts";
import { findNatsServer, NatsServer } from "./nats-server.fixture.ts";

const binary = findNatsServer("MERIDIAN_NATS_SERVER", ["nats-server"], /^2\.(1\d|[2-9]\d)\./);
const DISK = "32m";
const ENTRY_BYTES = 4_000;
const LEFT_BYTES = 40_000;
const ENTRIES_THAT_DO_NOT_FIT = 40;
const DEADLINE_MS = 60_000;

test("a stream whose writes nats-server does not answer after a full disk makes the log unready, with what to do", {
  skip: "missing" in binary ? required(binary.missing) : cannotMount(),
  timeout: 120_000,
}, async () => {
  assert.ok(!("missing" in binary));
  using disk = new SmallDisk();
  await using server = await NatsServer.start(binary.path, join(disk.folder, "nats"));
  await using logs = await server.connect("eu/full");
  const log = await logs.open("full", { compact: false });
  await append(log, 0);
  await logs.probe();
  const filled = disk.fill();
  let stored = 1;
  await assert.rejects(async () => {
    for (; stored < ENTRIES_THAT_DO_NOT_FIT; stored++) await append(log, stored);
  }, isUnavailable);
  rmSync(filled);
  const told = await untold(logs, () => append(log, stored));
  assert.match(told, /leaves writes of full unanswered.*start nats-server again/);
  await server.restart();
  await available(() => append(log, stored));
  await logs.probe();
});

function append(log: EventLog, value: number): Promise<number> {
  return log.append({ subject: `full.${value}`, payload: bytes("x".repeat(ENTRY_BYTES)) });
}

/** Writes in vain, as whoever has something to write goes on doing; resolves with what the log says then. */
async function untold(logs: EventLogs, write: () => Promise<number>): Promise<string> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    await assert.rejects(write, isUnavailable);
    // Each write in vain gives up the connection.
    const error = await available(() => probed(logs));
    if (error !== undefined) return error.message;
    assert.ok(performance.now() < deadline, "the log counts as ready");
  }
}

/** What a probe over a connection says; undefined when all is well. @throws ContentError while there is none. */
async function probed(logs: EventLogs): Promise<Error | undefined> {
  const error = await logs.probe().catch((caught: Error) => caught);
  if (error?.message.startsWith("not connected")) throw error;
  return error ?? undefined;
}

function isUnavailable(error: unknown): boolean {
  return isContentError(error, "unavailable");
}

/** A disk of its own that can be filled. */
class SmallDisk implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "meridian-eventlog-disk-"));

  constructor() {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${DISK}`, "tmpfs", this.folder]);
    mkdirSync(join(this.folder, "nats"));
  }

  /** Returns the file that takes what was free but for a little. */
  fill(): string {
    const { bavail, bsize } = statfsSync(this.folder);
    const file = join(this.folder, "filled");
    writeFileSync(file, Buffer.alloc(bavail * bsize - LEFT_BYTES));
    return file;
  }

  [Symbol.dispose](): void {
    execFileSync("umount", ["--lazy", this.folder]);
    rmSync(this.folder, { recursive: true });
  }
}

function cannotMount(): string | false {
  const reason = "needs the right to mount a tmpfs";
  if (process.platform !== "linux" || process.getuid?.() !== 0) return reason;
  try {
    execFileSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], { stdio: "ignore" });
    return false;
  } catch {
    return required(reason);
  }
}

function required(reason: string): string {
  if (process.env.MERIDIAN_REQUIRE === "all") throw new Error(reason);
  return reason;
}
