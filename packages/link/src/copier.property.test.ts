import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogEntry } from "@meridian/eventlog";
import fc from "fast-check";
import type { Copier } from "./copier.ts";
import { copyStream } from "./stream-names.ts";
import { Cable, entriesOf, hurried, TestSite, until } from "./test-site.fixture.ts";

type Step =
  | { readonly kind: "append"; readonly keys: readonly number[] }
  | { readonly kind: "break"; readonly after: number }
  | { readonly kind: "settle" }
  | { readonly kind: "restart-reader" }
  | { readonly kind: "restart-origin" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      keys: fc.array(fc.nat({ max: 7 }), { minLength: 1, maxLength: 30 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("break" as const), after: fc.nat({ max: 40 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("settle" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("restart-reader" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart-origin" as const) }) },
);

const at = (entry: LogEntry): string => `${entry.subject} ${Buffer.from(entry.payload).toString("hex")}`;

/** Everything in the copy was written by the origin there, and nothing of the origin before the copy's end is missing. */
async function requirePrefix(origin: TestSite, reader: TestSite, written: ReadonlyMap<number, string>): Promise<void> {
  const copy = await entriesOf(await reader.logs.open(copyStream(origin.name)));
  const live = await entriesOf(await origin.own());
  const end = copy.at(-1)?.origin?.sequence ?? 0;
  const sequences = copy.map((entry) => entry.origin!.sequence);
  assert.deepEqual(
    sequences,
    sequences.toSorted((a, b) => a - b),
    "the copy keeps the origin's order",
  );
  for (const entry of copy) {
    const known = written.get(entry.origin!.sequence);
    if (known !== undefined) assert.equal(at(entry), known);
  }
  const copied = new Set(sequences);
  for (const entry of live) {
    if (entry.sequence <= end) assert.ok(copied.has(entry.sequence), `${entry.sequence} is missing before ${end}`);
  }
}

test("through cuts and restarts at any entry the copy is a prefix of its origin, and in the end the whole", async () => {
  const run = async (steps: readonly Step[]): Promise<void> => {
    const time = hurried(40);
    await using origin = await TestSite.start("us", time);
    await using reader = await TestSite.start("eu", time);
    const cable = new Cable(() => origin.client());
    const written = new Map<number, string>();
    const start = (): Copier => reader.copier("us", { client: () => cable.client });
    const settled = async (copier: Copier): Promise<boolean> =>
      copier.status().copied?.sequence === (await (await origin.own()).head()).sequence || written.size === 0;
    let copier = start();
    try {
      for (const [index, current] of steps.entries()) {
        if (current.kind === "append") {
          const texts = current.keys.map((key, part) => ({ key: `k${key}`, text: `${index}.${part}` }));
          const sequences = await Promise.all(texts.map(({ key, text }) => origin.append(key, text)));
          sequences.forEach((sequence, part) => {
            const { key, text } = texts[part]!;
            written.set(sequence, `m.us.tag.${key} ${Buffer.from(text).toString("hex")}`);
          });
        }
        if (current.kind === "break") cable.breakAfter(current.after);
        if (current.kind === "settle") await until(() => settled(copier), "the copy has caught up");
        if (current.kind === "restart-origin") await origin.restart();
        if (current.kind === "restart-reader") {
          await copier[Symbol.asyncDispose]();
          await reader.restart();
          copier = start();
        }
        await requirePrefix(origin, reader, written);
      }
      cable.heal();
      await until(() => settled(copier), "the copy is whole");
    } finally {
      await copier[Symbol.asyncDispose]();
    }
    await requirePrefix(origin, reader, written);
    const copy = await entriesOf(await reader.logs.open(copyStream("us")));
    assert.deepEqual(copy.map(at), (await entriesOf(await origin.own())).map(at));
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 12 }), run), { numRuns: 25 });
});
