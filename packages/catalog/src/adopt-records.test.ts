import assert from "node:assert/strict";
import { test } from "node:test";
import { createSystemClock } from "@meridian/runtime";
import { subjectOf } from "./keys.ts";
import { encodeRecord } from "./merge.ts";
import { retirementOf } from "./retirement.ts";
import { createRecordingLogger, digestFor, SimulatedSite } from "./simulated-site.ts";
import { openTestSite, until } from "./test-site.ts";

test("of an origin's old copy only that is published which neither its new copy nor the own log holds", async () => {
  await using site = await openTestSite("eu");
  const log = createRecordingLogger();
  const catalog = await site.open({ log });
  await until(() => catalog.ready);
  const us = new SimulatedSite("us", { clock: createSystemClock() });
  const payloads: Uint8Array[] = [];
  for (const tag of ["kept", "lost"]) {
    const change = { kind: "tag", repository: "r", tag, digest: digestFor(tag), size: 1, who: "x" } as const;
    const [record] = await us.commit([{ ...change, mediaType: "application/vnd.example" }]);
    payloads.push(encodeRecord(record!));
  }
  const copy = await site.logs.open("FROM_us");
  const subject = subjectOf("us", { kind: "tag", parts: ["r", "kept"] });
  const origin = { incarnation: { created: 2n, id: "new" }, sequence: 1 };
  await copy.append({ subject, payload: payloads[0]!, origin });

  await catalog.adopt("us", [...payloads, Buffer.from("no record")]);
  await catalog.adopt("us", payloads);

  const own = await site.logs.open("META_eu");
  const at = (tag: string) => own.last(subjectOf("eu", { kind: "tag", parts: ["r", tag] }));
  assert.equal(await at("kept"), undefined);
  assert.equal((await at("lost"))?.sequence, 2, "behind the session, once");
  await until(() => catalog.tag("r", "lost") !== undefined);
  assert.equal(catalog.tag("r", "lost")?.site, "us");
  assert.ok(log.lines.some((line) => /no record/.test(line)));
});

test("no deletion is said to be dead while an old copy may still be published", async () => {
  await using site = await openTestSite("eu");
  const { view } = new SimulatedSite("eu", { clock: createSystemClock() });
  const retirement = retirementOf({ site: "eu", view, logs: site.logs, life: { restoring: undefined } });
  assert.deepEqual(await retirement.areDead(["rt r gone"], 1n), [true]);
  await site.logs.open("OLD_us", { sessions: false });
  await assert.rejects(retirement.areDead(["rt r gone"], 1n), { name: "ContentError", kind: "unavailable" });
  await site.logs.drop("OLD_us");
  assert.deepEqual(await retirement.areDead(["rt r gone"], 1n), [true]);
});
