import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createSystemClock, systemTimers } from "@meridian/runtime";
import fc from "fast-check";
import { SharedBody } from "./shared-body.ts";

async function* chunksOf(...texts: string[]): AsyncIterable<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

function share(source: AsyncIterable<Uint8Array>, readers: number, stallMs = 60_000) {
  const left: number[] = [];
  const clock = createSystemClock();
  const body = new SharedBody({
    ...{ source, readers, stallMs, clock, timers: systemTimers },
    onLeftBehind: (reader) => void left.push(reader),
  });
  return { body, left };
}

async function readAll(body: AsyncIterable<Uint8Array>, each: () => unknown = () => undefined): Promise<string> {
  let text = "";
  for await (const chunk of body) {
    await each();
    text += Buffer.from(chunk).toString();
  }
  return text;
}

describe("a body with several readers", () => {
  test("is the same for each, however their speeds differ", async () => {
    const turns = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string(), { maxLength: 10 }), turns, async (texts, speeds) => {
        const { body } = share(chunksOf(...texts), speeds.length);
        using _ = body;
        const rest = async (count: number): Promise<void> => {
          for (let i = 0; i < count; i++) await new Promise((done) => setImmediate(done));
        };
        const read = await Promise.all(speeds.map((speed, i) => readAll(body.reader(i), () => rest(speed))));
        for (const text of read) assert.equal(text, texts.join(""));
      }),
      { numRuns: 50 },
    );
  });

  test("gives no chunk while a reader still uses the last one", async () => {
    let taken = 0;
    const source = (async function* () {
      for (;;) {
        taken += 1;
        if (taken > 3) return;
        yield Buffer.from(String(taken));
      }
    })();
    const { body } = share(source, 2);
    using _ = body;
    const slow = body.reader(1)[Symbol.asyncIterator]();
    const fast = body.reader(0)[Symbol.asyncIterator]();
    await Promise.all([fast.next(), slow.next()]);
    const ahead = fast.next();
    await new Promise((done) => setImmediate(done));
    assert.equal(taken, 1);
    await slow.next();
    assert.equal(String((await ahead).value), "2");
  });

  test("goes on without a reader that leaves", async () => {
    const { body } = share(chunksOf("a", "b", "c"), 2);
    using _ = body;
    const all = readAll(body.reader(0));
    for await (const _chunk of body.reader(1)) break;
    assert.equal(await all, "abc");
  });

  test("leaves a reader behind that keeps the others waiting, and tells it", async () => {
    const { body, left } = share(chunksOf("a", "b", "c"), 2, 40);
    using _ = body;
    const all = readAll(body.reader(0));
    const stuck = body.reader(1)[Symbol.asyncIterator]();
    await stuck.next();
    assert.equal(await all, "abc");
    assert.deepEqual(left, [1]);
    await assert.rejects(stuck.next(), /left behind/);
  });

  test("never leaves a reader behind because the source is slow", async () => {
    const source = (async function* () {
      yield Buffer.from("a");
      await systemTimers.sleep(150);
      yield Buffer.from("b");
    })();
    const { body, left } = share(source, 2, 40);
    using _ = body;
    assert.deepEqual(await Promise.all([readAll(body.reader(0)), readAll(body.reader(1))]), ["ab", "ab"]);
    assert.deepEqual(left, []);
  });

  test("fails for all when the source does", async () => {
    const source = (async function* () {
      yield Buffer.from("a");
      throw new Error("broken off");
    })();
    const { body } = share(source, 2);
    using _ = body;
    const read = [0, 1].map((reader) => assert.rejects(readAll(body.reader(reader)), /broken off/));
    await Promise.all(read);
    assert.equal(body.failed, true);
  });
});
