import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import { AheadBuffer } from "./ahead-buffer.ts";
import { firstRange, PIECE_BYTES, readInRanges } from "./ranged-read.ts";

const content = randomBytes(7 * PIECE_BYTES + 12_345);

/** A holder that is asked for ranges, and answers each when told. */
class Holder {
  readonly asked: ByteSpan[] = [];
  readonly #answers = new Map<number, PromiseWithResolvers<void>>();
  most = 0;
  #running = 0;

  /** Lets the request that begins there be answered; absent: all, now and later. */
  answer(start: number): void {
    this.#answerOf(start).resolve();
  }

  fail(start: number, error: Error): void {
    this.#answerOf(start).reject(error);
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    this.asked.push(span);
    this.most = Math.max(this.most, ++this.#running);
    try {
      const stopped = new Promise<never>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      await Promise.race([this.#answerOf(span.start).promise, stopped]);
      for (let at = span.start; at < span.end; at += 100_000)
        await sink.write(content.subarray(at, Math.min(at + 100_000, span.end)));
    } finally {
      this.#running -= 1;
    }
  }

  #answerOf(start: number): PromiseWithResolvers<void> {
    const answer = this.#answers.get(start) ?? Promise.withResolvers<void>();
    answer.promise.catch(() => {});
    this.#answers.set(start, answer);
    return answer;
  }
}

function collect(): { sink: ByteSink; bytes: () => Buffer } {
  const chunks: Buffer[] = [];
  return { sink: { write: async (chunk) => void chunks.push(Buffer.from(chunk)) }, bytes: () => Buffer.concat(chunks) };
}

async function settled(): Promise<void> {
  for (let i = 0; i < 50; i++) await turn();
}

const at = (piece: number): number => piece * PIECE_BYTES;

describe("reading by several ranges at once", () => {
  it("asks for four pieces at a time, and writes them in order whatever order they come in", async () => {
    const holder = new Holder();
    const { sink, bytes } = collect();
    const span = { start: 0, end: content.length };
    const reading = readInRanges({ blob: holder, holder: "eu/n", span, sink, lanes: 4, ahead: new AheadBuffer() });
    await settled();
    assert.deepEqual(
      holder.asked.map(({ start }) => start),
      [at(0), at(1), at(2), at(3)],
    );
    for (const piece of [3, 1, 2]) holder.answer(at(piece));
    await settled();
    assert.equal(bytes().length, 0, "nothing goes before what precedes it");
    assert.equal(holder.asked.length, 4, "no more than four pieces are on their way or held");
    for (const piece of [0, 5, 4, 7, 6]) holder.answer(at(piece));
    await reading;
    assert.ok(bytes().equals(content));
    assert.equal(holder.most, 4);
    assert.equal(holder.asked.length, 8, "each piece once");
  });

  it("keeps what came ahead for the next attempt, which asks only for the rest", async () => {
    const [first, second] = [new Holder(), new Holder()];
    const { sink, bytes } = collect();
    const ahead = new AheadBuffer();
    const span = { start: 0, end: content.length };
    const reading = readInRanges({ blob: first, holder: "eu/n", span, sink, lanes: 4, ahead });
    for (const piece of [1, 2]) first.answer(at(piece));
    await settled();
    first.fail(at(0), new Error("cut"));
    await assert.rejects(reading, { message: "cut" });
    assert.deepEqual([...ahead.holders], ["eu/n"]);
    assert.deepEqual(firstRange(0, ahead), { start: 0, end: at(1) });
    for (let piece = 0; piece < 8; piece++) second.answer(at(piece));
    const written = bytes().length;
    await readInRanges({
      blob: second,
      holder: "ap/n",
      span: { start: written, end: span.end },
      sink,
      lanes: 4,
      ahead,
    });
    assert.ok(bytes().equals(content));
    assert.deepEqual(
      second.asked.map(({ start }) => start).toSorted((a, b) => a - b),
      [at(0), at(3), at(4), at(5), at(6), at(7)],
    );
  });

  it("fails with what the sink throws, and writes nothing more", async () => {
    const holder = new Holder();
    for (let piece = 0; piece < 8; piece++) holder.answer(at(piece));
    let written = 0;
    const write = async (chunk: Uint8Array): Promise<void> => {
      if (written > PIECE_BYTES) throw new Error("disk full");
      written += chunk.byteLength;
    };
    const span = { start: 0, end: content.length };
    const reading = readInRanges({
      blob: holder,
      holder: "eu/n",
      span,
      sink: { write },
      lanes: 4,
      ahead: new AheadBuffer(),
    });
    await assert.rejects(reading, { message: "disk full" });
    const then = written;
    await settled();
    assert.equal(written, then);
  });
});
