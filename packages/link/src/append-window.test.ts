import assert from "node:assert/strict";
import { test } from "node:test";
import type { EventLogs } from "@meridian/eventlog";
import { hurried, TestSite, until } from "./test-site.fixture.ts";

/** The logs, whose appends to copies are begun at once and acknowledged when they are let through. */
function heldBack(logs: EventLogs): { logs: EventLogs; begun: string[]; letThrough: () => void } {
  const gate = Promise.withResolvers<void>();
  const begun: string[] = [];
  const slow: EventLogs = {
    bulletin: logs.bulletin,
    streams: () => logs.streams(),
    renew: (stream, options) => logs.renew(stream, options),
    drop: (stream) => logs.drop(stream),
    probe: (signal) => logs.probe(signal),
    [Symbol.asyncDispose]: () => logs[Symbol.asyncDispose](),
    open: async (stream, options) => {
      const log = await logs.open(stream, options);
      return new Proxy(log, {
        get(target, property) {
          if (property !== "append") {
            const value: unknown = Reflect.get(target, property);
            return typeof value === "function" ? value.bind(target) : value;
          }
          return async (...args: Parameters<typeof log.append>) => {
            begun.push(Buffer.from(args[0].payload).toString());
            const appended = target.append(...args);
            await gate.promise;
            return appended;
          };
        },
      });
    },
  };
  return { logs: slow, begun, letThrough: () => gate.resolve() };
}

test("entries go on coming while the disk takes those before; nothing is reported that it has not", async () => {
  const time = hurried(20);
  await using us = await TestSite.start("us", time);
  await using eu = await TestSite.start("eu", time);
  await us.append("a", "1");
  const { logs, begun, letThrough } = heldBack(eu.logs);
  await using copier = eu.copier("us", { client: () => us.client(), logs });
  await until(() => begun.includes("1"), "the first append is under way");
  await us.append("b", "2");
  await until(() => begun.includes("2"), "the second one is under way too");
  assert.equal(copier.status().copied, undefined);
  assert.deepEqual(us.reports, []);
  letThrough();
  await until(() => copier.status().copied?.sequence === 3, "both are copied");
  await until(() => us.reports.at(-1)?.report.copied?.sequence === 3, "both are reported");
});
