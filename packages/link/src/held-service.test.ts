import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import type { PeerIdentity } from "@meridian/runtime";
import { linkV1 } from "@meridian/wire";
import { createHeldService } from "./held-service.ts";
import { keepOldCopy } from "./old-copy.ts";
import { MEMBERS, TestSite } from "./test-site.fixture.ts";

const LIFE = { created: 7n, id: "life" };

describe("what a member holds of a site that lost its log", () => {
  let us: TestSite;
  const ask = async (
    request: Partial<Pick<linkV1.HeldRequest, "origin" | "headOnly" | "after">>,
    peer?: PeerIdentity,
  ): Promise<linkV1.HeldResponse> => {
    const service = createHeldService({ members: () => MEMBERS, logs: us.logs });
    const asked = create(linkV1.HeldRequestSchema, { origin: "eu", ...request });
    return create(linkV1.HeldResponseSchema, await service.held(asked, { signal: new AbortController().signal, peer }));
  };
  const all = async (): Promise<string[]> => {
    const subjects: string[] = [];
    for (let after: linkV1.HeldPlace | undefined, first = true; first || after !== undefined; first = false) {
      const page = await ask(after === undefined ? {} : { after });
      subjects.push(...page.entries.map(({ subject, payload }) => `${subject} ${Buffer.from(payload)}`));
      after = page.next;
    }
    return subjects;
  };

  before(async () => {
    us = await TestSite.start("us");
  });
  after(() => us[Symbol.asyncDispose]());

  test("nothing, and no stream is made by the question", async () => {
    assert.equal((await ask({})).copied, undefined);
    assert.deepEqual(await all(), []);
    assert.deepEqual(await us.logs.streams(), []);
  });

  test("its copy up to where that stands, what was put aside before it, and no sessions", async () => {
    const copy = await us.logs.open("FROM_eu");
    const append = (kind: string, sequence: number, text: string): Promise<number> =>
      copy.append({
        subject: `m.eu.${kind}`,
        payload: Buffer.from(text),
        origin: { incarnation: LIFE, sequence },
      });
    await append("session.a", 1, "session");
    await append("tag.a", 2, "lost");
    await keepOldCopy(us.logs, "eu", copy);
    await append("tag.a", 4, "kept");
    await append("life.life", 6, "whole");
    const head = await ask({ headOnly: true });
    assert.deepEqual([head.copied?.incarnation?.id, head.copied?.sequence, head.entries.length], ["life", 6n, 0]);
    assert.deepEqual(await all(), ["m.eu.tag.a lost", "m.eu.tag.a kept", "m.eu.life.life whole"]);
  });

  test("is told to that site's replicator alone", async () => {
    const identity = (site: string, service: string): PeerIdentity => ({ trustDomain: "c", site, service });
    for (const peer of [identity("ap", "replicator"), identity("eu", "gateway")]) {
      await assert.rejects(ask({}, peer), (error) => isContentError(error, "denied"));
    }
    await assert.rejects(ask({ origin: "mars" }), (error) => isContentError(error, "denied"));
    assert.equal((await ask({ headOnly: true }, identity("eu", "replicator"))).copied?.sequence, 6n);
  });
});
