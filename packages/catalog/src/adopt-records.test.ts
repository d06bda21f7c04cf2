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

test("of a site that left that is published which no other copy holds, but for what its nodes had; its own copy counts no more", async () => {
  await using site = await openTestSite("eu");
  const catalog = await site.open();
  await until(() => catalog.ready);
  const us = new SimulatedSite("us", { clock: createSystemClock() });
  const tag = (name: string) =>
    ({ kind: "tag", repository: "r", tag: name, digest: digestFor(name), size: 1, who: "x", mediaType: "m" }) as const;
  const [only] = await us.commit([tag("only")]);
  const [known] = await us.commit([tag("known")]);
  const at = { kind: "blob-at-node", digest: digestFor("b"), node: "us/site", size: 1, state: "present" } as const;
  const [held] = await us.commit([at]);
  const payloads = [only, known, held].map((record) => encodeRecord(record!));
  const subject = (origin: string, name: string) => subjectOf(origin, { kind: "tag", parts: ["r", name] });
  const place = (sequence: number) => ({ incarnation: { created: 2n, id: "one" }, sequence });
  const gone = await site.logs.open("FROM_us");
  await gone.append({ subject: subject("us", "only"), payload: payloads[0]!, origin: place(1) });
  const other = await site.logs.open("FROM_ap");
  await other.append({ subject: subject("ap", "known"), payload: payloads[1]!, origin: place(1) });

  await catalog.adopt("us", payloads, { left: true });

  const own = await site.logs.open("META_eu");
  assert.notEqual(await own.last(subject("eu", "only")), undefined);
  assert.equal(await own.last(subject("eu", "known")), undefined, "ap has published it");
  const node = subjectOf("eu", { kind: "blob", parts: [digestFor("b"), "us/site"] });
  assert.equal(await own.last(node), undefined, "what a node had is gone with it");
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
