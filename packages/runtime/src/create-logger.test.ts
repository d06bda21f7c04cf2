import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createLogger, type LoggerOptions } from "./create-logger.ts";

function capture(options: Partial<LoggerOptions> = {}) {
  const lines: string[] = [];
  const log = createLogger({
    level: "info",
    write: (line) => lines.push(line),
    clock: { now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 6), monotonic: () => 0 },
    ...options,
  });
  return { log, lines, entries: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe("createLogger", () => {
  it("writes one JSON line with time, level, message and fields", () => {
    const { log, lines, entries } = capture({ fields: { site: "eu" } });
    log.info("started\nwell", { port: 5001, sequence: 7n });
    assert.equal(lines.length, 1);
    assert.equal(lines[0]?.indexOf("\n"), (lines[0]?.length ?? 0) - 1);
    assert.deepEqual(entries()[0], {
      time: "2026-01-02T03:04:05.006Z",
      level: "info",
      message: "started\nwell",
      site: "eu",
      port: 5001,
      sequence: "7",
    });
  });

  it("leaves out lines below its level and adds the fields of a child", () => {
    const { log, entries } = capture({ level: "warn" });
    const child = log.child({ peer: "us" });
    child.debug("no");
    child.info("no");
    child.warn("yes");
    child.error("yes");
    assert.deepEqual(
      entries().map((entry) => [entry.level, entry.peer]),
      [
        ["warn", "us"],
        ["error", "us"],
      ],
    );
  });

  it("redacts secrets at any depth, in keys and inside text", () => {
    const { log, lines } = capture();
    const pem = "-----BEGIN PRIVATE KEY-----\nMIIsecretsecret\n-----END PRIVATE KEY-----";
    log.info(`with Authorization: Bearer abcdefghijkl.mno`, {
      user: { name: "ada", password: "hunter22", nested: [{ accessToken: "hunter23" }] },
      headers: new Map([["Authorization", "hunter24"]]),
      text: `pem ${pem} end`,
      url: "https://ada:hunter25@example.org/v2/",
      error: new Error(`bad ${pem}`),
    });
    const text = lines.join("");
    assert.doesNotMatch(text, /hunter2|MIIsecret|abcdefghijkl/);
    assert.match(text, /"name":"ada"/);
    assert.match(text, /pem \[redacted\] end/);
  });

  it("writes errors as name, message, stack and causes, without their enumerable properties", () => {
    const { log, entries } = capture();
    const cause = new TypeError("deep");
    const error = Object.assign(new Error("shallow", { cause }), { leak: "inner" });
    log.error("failed", { error });
    const written = entries()[0]?.error as Record<string, unknown>;
    assert.equal(written.message, "shallow");
    assert.match(String(written.stack), /create-logger\.test/);
    assert.equal((written.cause as Record<string, unknown>).name, "TypeError");
    assert.equal(written.leak, undefined);
  });

  it("survives cycles, depth, long arrays and objects that throw", () => {
    const { log, entries } = capture();
    const cycle: Record<string, unknown> = { list: Array.from({ length: 200 }, (_, i) => i) };
    cycle.self = cycle;
    let deep: unknown = "bottom";
    for (let i = 0; i < 50; i++) deep = { deep };
    log.info("odd", { cycle, deep, bytes: new Uint8Array(3), time: "mine" });
    log.info("throws", {
      get broken() {
        throw new Error("getter");
      },
    });
    const first = entries()[0] as Record<string, Record<string, unknown>>;
    assert.equal(first.cycle?.self, "[circular]");
    assert.equal(entries()[0]?.bytes, "[3 bytes]");
    assert.equal(entries()[0]?.time_, "mine");
    assert.doesNotMatch(JSON.stringify(entries()[0]), /bottom/);
    assert.equal(entries().length, 2);
  });

  it("writes text for a terminal on one line", () => {
    const { log, lines } = capture({ format: "text" });
    log.warn("two\nlines", { site: "eu", why: "a b" });
    assert.equal(lines[0], '2026-01-02T03:04:05.006Z WARN  two lines site=eu why="a b"\n');
  });
});
