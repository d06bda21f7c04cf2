import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ContentError, type ContentErrorKind, isContentError } from "@meridian/oci";
import type { PeerIdentity } from "@meridian/runtime";
import { linkV1 } from "@meridian/wire";
import { createLogTailService, type OwnLogGuard } from "./log-tail-service.ts";
import { hurried, MEMBERS, silent, TestSite } from "./test-site.fixture.ts";
import { toWireCursor } from "./wire-cursor.ts";

type Hello = MessageInitShape<typeof linkV1.HelloSchema>;
type TailResponse = MessageInitShape<typeof linkV1.TailResponseSchema>;

const HELLO = { versions: [1], readerSite: "eu", origin: "us" };

describe("LogTail service", () => {
  let us: TestSite;

  before(async () => {
    us = await TestSite.start("us", hurried(10));
    await us.append("a", "1");
    await us.append("b", "2");
  });
  after(() => us[Symbol.asyncDispose]());

  /** The first `count` responses to a Hello. */
  async function ask(
    hello: Hello,
    {
      peer,
      count = 1,
      own,
      members = () => MEMBERS,
    }: { peer?: PeerIdentity; count?: number; own?: OwnLogGuard; members?: () => readonly string[] } = {},
  ): Promise<TailResponse[]> {
    const { logs, timers } = us;
    const service = createLogTailService({
      site: "us",
      members,
      logs,
      timers,
      log: silent,
      own,
      onReport: () => {},
    });
    const over = new AbortController();
    async function* requests() {
      yield create(linkV1.TailRequestSchema, { message: { case: "hello", value: hello } });
      await new Promise((resolve) => over.signal.addEventListener("abort", resolve));
    }
    const responses: TailResponse[] = [];
    try {
      for await (const response of service.tail(requests(), { signal: over.signal, peer })) {
        responses.push(response);
        if (responses.length === count) break;
      }
    } finally {
      over.abort();
    }
    return responses;
  }

  const refused = (hello: Hello, kind: ContentErrorKind, message: RegExp, peer?: PeerIdentity): Promise<void> =>
    assert.rejects(ask(hello, { peer }), (error) => isContentError(error, kind) && message.test(error.message));

  test("a reader gets Welcome, entries, then heartbeats that name the origin", async () => {
    const [welcome, batch, heartbeat] = await ask(HELLO, { count: 3 });
    const { incarnation } = await (await us.own()).head();
    assert.deepEqual(welcome?.message?.value, {
      version: 1,
      serverSite: "us",
      incarnation,
      head: 3n,
      reset: false,
      resetReason: "",
    });
    assert.equal(batch?.message?.case === "batch" && batch.message.value.entries?.length, 3);
    assert.deepEqual(heartbeat?.message, { case: "heartbeat", value: { head: 3n, origin: true } });
  });

  test("a log that is not whole is not served: its readers keep what they have", async () => {
    const own: OwnLogGuard = {
      untilWhole: (signal) =>
        new Promise((_, reject) =>
          signal.addEventListener("abort", () => reject(new ContentError("unavailable", "being restored"))),
        ),
      foundLost: () => true,
    };
    await assert.rejects(ask(HELLO, { own }), /being restored/);
  });

  test("a reader that has seen what the log lost, or a later life of it, is sent away once its site was told", async () => {
    const log = await us.own();
    const { incarnation, sequence } = await log.head();
    const told: string[] = [];
    const own: OwnLogGuard = {
      untilWhole: async () => {},
      foundLost: ({ reason }) => told.push(reason) > 0,
    };
    const seen = await log.cursorAt(sequence);
    assert.equal((await ask({ ...HELLO, cursor: toWireCursor(seen) }, { own })).length, 1);
    const beyond = { ...seen, sequence: sequence + 5 };
    await assert.rejects(ask({ ...HELLO, cursor: toWireCursor(beyond) }, { own }), /was set back/);
    const later = { incarnation: { created: incarnation.created + 1n, id: "later" }, sequence: 1 };
    await assert.rejects(ask({ ...HELLO, cursor: toWireCursor(later) }, { own }), /was set back/);
    assert.deepEqual(
      told.map((reason) => /ends at|of incarnation later/.test(reason)),
      [true, true],
    );
    const earlier = { incarnation: { created: 1n, id: "earlier" }, sequence: 1 };
    const [welcome] = await ask({ ...HELLO, cursor: toWireCursor(earlier) }, { own });
    assert.equal(welcome?.message?.case === "welcome" && welcome.message.value.reset, true);
    // Where nobody cares for lost logs the reader begins anew.
    const [again] = await ask({ ...HELLO, cursor: toWireCursor(beyond) });
    assert.equal(again?.message?.case === "welcome" && again.message.value.reset, true);
  });

  test("a reader that ceases to be a member gets nothing more", async () => {
    let asked = 0;
    const members = (): readonly string[] => (asked++ < 3 ? MEMBERS : ["us"]);
    await assert.rejects(ask(HELLO, { count: 5, members }), { kind: "denied", message: /eu is not a member/ });
  });

  test("no common version is said with both sides' versions", async () => {
    const message = /site eu speaks link version 2, 3, site us speaks 1: upgrade the older one/;
    await refused({ ...HELLO, versions: [2, 3] }, "precondition", message);
    assert.equal((await ask({ ...HELLO, versions: [2, 1] })).length, 1);
  });

  test("only a replicator of the reader's own site may read", async () => {
    const peer = { trustDomain: "c", site: "eu", service: "replicator" };
    for (const service of ["replicator", "site"])
      assert.equal((await ask(HELLO, { peer: { ...peer, service } })).length, 1);
    await refused(HELLO, "denied", /eu\/gateway may not tail for site eu/, { ...peer, service: "gateway" });
    await refused(HELLO, "denied", /ap\/replicator may not tail for site eu/, { ...peer, site: "ap" });
    await refused({ ...HELLO, readerSite: "xx" }, "denied", /xx is not a member/, { ...peer, site: "xx" });
    await refused({ ...HELLO, origin: "xx" }, "denied", /origin xx is not a member/, peer);
  });

  test("a cursor that does not fit resets the reader, with the reason", async () => {
    const good = await (await us.own()).cursorAt(2);
    const [welcome, batch] = await ask({ ...HELLO, cursor: toWireCursor(good) }, { count: 2 });
    assert.equal(welcome?.message?.case === "welcome" && welcome.message.value.reset, false);
    assert.equal(batch?.message?.case === "batch" && batch.message.value.entries?.[0]?.sequence, 3n);
    const [reset, all] = await ask({ ...HELLO, cursor: toWireCursor({ ...good, sequence: 99 }) }, { count: 2 });
    assert.ok(reset?.message?.case === "welcome" && reset.message.value.reset);
    assert.match(reset.message.value.resetReason ?? "", /ends at 3/);
    assert.equal(all?.message?.case === "batch" && all.message.value.entries?.length, 3);
  });

  test("a relay of what nobody copied here is unavailable; a first message that is no Hello is invalid", async () => {
    await refused({ ...HELLO, origin: "ap" }, "unavailable", /site us has no FROM_ap/);
    const client = us.client();
    async function* requests() {
      yield { message: { case: "report" as const, value: {} } };
    }
    const responses = client.tail(requests())[Symbol.asyncIterator]();
    await assert.rejects(responses.next(), (error) => isContentError(error, "invalid"));
  });

  test("a message holds at most a mebibyte of entries", async () => {
    const log = await us.own();
    const payload = Buffer.alloc(60_000);
    await Promise.all(
      Array.from({ length: 40 }, (_, index) => log.append({ subject: `m.us.tag.big${index}`, payload })),
    );
    let received = 0;
    for (const { message } of await ask(HELLO, { count: 4 })) {
      if (message?.case !== "batch") continue;
      const bytes = message.value.entries!.reduce((sum, entry) => sum + entry.payload!.length, 0);
      assert.ok(bytes <= 1 << 20, `${bytes} bytes`);
      received += message.value.entries!.length;
    }
    assert.equal(received, 43);
  });
});
