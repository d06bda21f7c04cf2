import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type Digest, digestOf } from "@meridian/oci";
import { createLogger, createManualTime, systemTimers } from "@meridian/runtime";
import type { BlobInfo, CheckOptions, CheckOutcome } from "@meridian/storage";
import { ReadLoad } from "./read-load.ts";
import { readScrubRecord } from "./scrub-record.ts";
import { Scrubber, type ScrubberOptions } from "./scrubber.ts";
import { createBlobNodeEvents } from "./telemetry.ts";

const HOUR = 3_600_000;
const log = createLogger({ level: "error", write: () => {} });

/** A store of blobs of 1 MB whose checks are written down. */
function fixture(count: number, more: Partial<ScrubberOptions> = {}) {
  const digests = Array.from({ length: count }, (_, i) => digestOf(`${i}`)).sort();
  const checked: Digest[] = [];
  const bad = new Set<Digest>();
  const time = createManualTime(1_700_000_000_000);
  const store = {
    async *list(): AsyncGenerator<BlobInfo> {
      for (const digest of digests) yield { digest, size: 1_000_000 };
    },
    checks: {
      async check(digest: Digest, { pace, signal }: CheckOptions = {}): Promise<CheckOutcome> {
        for (let i = 0; i < 4; i++) await pace?.(250_000);
        signal?.throwIfAborted();
        checked.push(digest);
        return bad.has(digest) ? "damaged" : "right";
      },
      inspect: () => assert.fail("not used"),
      quarantined: () => assert.fail("not used"),
      watch: () => assert.fail("not used"),
    },
  };
  const load = new ReadLoad();
  const options: ScrubberOptions = {
    ...{ store, load, clock: time.clock, timers: time.timers, log, events: createBlobNodeEvents(log) },
    ...{ bytesPerSecond: 1_000_000, periodMs: HOUR, firstAfterMs: 60_000 },
    ...more,
  };
  /** Lets time pass in small steps, so that what waits for one another can. */
  const pass = async (ms: number, stepMs = 250): Promise<void> => {
    for (let left = ms; left > 0; left -= stepMs) {
      await time.advance(Math.min(left, stepMs));
      // What writes to a file needs real time.
      await systemTimers.sleep(2);
    }
  };
  return { digests, checked, bad, time, load, options, pass };
}

test("hashes every blob at the given rate, first a minute after the start, then every period", async () => {
  const { digests, checked, bad, options, pass } = fixture(10);
  bad.add(digests[3]!);
  await using scrubber = await Scrubber.open(options);
  await pass(59_000, 1_000);
  assert.equal(scrubber.progress.state, "idle");
  assert.deepEqual(checked, []);
  await pass(5_000);
  assert.equal(scrubber.progress.state, "running");
  assert.ok(checked.length >= 2 && checked.length <= 5, `${checked.length} MB in 4 s at 1 MB/s`);
  await pass(10_000);
  assert.deepEqual(checked, digests);
  const { state, blobs, bytes, damaged } = scrubber.progress;
  assert.deepEqual({ state, blobs, bytes, damaged }, { state: "idle", blobs: 10, bytes: 10_000_000, damaged: 1 });
  await pass(HOUR, 10_000);
  assert.ok(checked.length > 10, "the next pass");
});

test("goes on at a quarter of its rate beside readers", async () => {
  const { checked, load, options, pass } = fixture(10);
  await using scrubber = await Scrubber.open(options);
  {
    using _reader = load.enter();
    await scrubber.start();
    await pass(8_000);
    assert.ok(checked.length <= 2, `${checked.length} MB in 8 s`);
  }
  await pass(8_000);
  assert.ok(checked.length >= 7, `${checked.length} MB`);
});

test("pauses where it is, over restarts too, and goes on there", async () => {
  const folder = await mkdtemp(join(tmpdir(), "meridian-scrub-"));
  try {
    const file = join(folder, "scrub.json");
    const { digests, checked, options, pass } = fixture(10, { file });
    let at: number;
    {
      await using scrubber = await Scrubber.open(options);
      await scrubber.start();
      await pass(4_500);
      await scrubber.pause();
      at = checked.length;
      assert.ok(at >= 1 && at < 10, `${at}`);
      assert.equal(scrubber.progress.state, "paused");
      await pass(2 * HOUR, 60_000);
    }
    {
      await using scrubber = await Scrubber.open(options);
      await pass(2 * HOUR, 60_000);
      assert.equal(checked.length, at, "still paused");
      assert.equal(scrubber.progress.blobs, at);
      await scrubber.start();
      await pass(2_500);
    }
    assert.ok(checked.length > at && checked.length < 10, `${checked.length}`);
    assert.equal((await readScrubRecord(file))?.running, true);
    await using scrubber = await Scrubber.open(options);
    for (let i = 0; i < 1_000 && scrubber.progress.finishedAt === 0; i++) await pass(1_000, 1_000);
    assert.deepEqual(checked, digests, "each once, in order");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a position that cannot be read means a new pass", async () => {
  const folder = await mkdtemp(join(tmpdir(), "meridian-scrub-"));
  try {
    const file = join(folder, "scrub.json");
    await writeFile(file, '{"format":1,');
    const { checked, options, pass } = fixture(2, { file });
    await using scrubber = await Scrubber.open(options);
    await scrubber.start();
    for (let i = 0; i < 1_000 && scrubber.progress.finishedAt === 0; i++) await pass(250);
    assert.equal(checked.length, 2);
  } finally {
    await rm(folder, { recursive: true });
  }
});
