import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { describe, it } from "node:test";

const LIFE = `
import { ConfigError } from "${new URL("./config.ts", import.meta.url)}";
import { runService } from "${new URL("./run-service.ts", import.meta.url)}";
const log = { debug() {}, info(m) { console.log(m) }, warn() {}, error(m) { console.log(m) }, child() { return log } };
const never = () => new Promise(() => {});
`;

/** Runs a service in a process of its own; its log goes to `lines`. */
function run(options: string): {
  child: ChildProcess;
  until(text: string): Promise<void>;
  lines: string[];
  exit: Promise<number>;
} {
  const script = `${LIFE} await runService({ log, drainTimeoutMs: 5000, ${options} });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    for (const wake of waiting) wake();
  });
  return {
    child,
    lines,
    exit: once(child, "close").then(([code]) => code as number),
    until: (text) =>
      new Promise((resolve, reject) => {
        const deadline = setTimeout(() => reject(new Error(`no "${text}" in ${lines.join(" | ")}`)), 30_000);
        const wake = (): void => {
          if (!lines.some((line) => line.includes(text))) return;
          clearTimeout(deadline);
          resolve();
        };
        waiting.add(wake);
        wake();
      }),
  };
}

const started = (close: string): string =>
  `start: async () => { console.log("up"); return { async [Symbol.asyncDispose]() { console.log("closing"); ${close} } } }`;

describe("runService", { concurrency: true }, () => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it(`closes once on ${signal} and ends with 0`, async () => {
      const service = run(started(""));
      await service.until("up");
      service.child.kill(signal);
      assert.equal(await service.exit, 0);
      assert.deepEqual(service.lines, ["up", "told to end", "closing", "ended"]);
    });
  }

  it("ends soon after a second signal although closing hangs", async () => {
    const service = run(started("setInterval(() => {}, 1000); await never();"));
    await service.until("up");
    service.child.kill("SIGTERM");
    await service.until("closing");
    const asked = performance.now();
    service.child.kill("SIGTERM");
    assert.equal(await service.exit, 1);
    assert.ok(performance.now() - asked < 3_000);
    assert.equal(service.lines.filter((line) => line === "closing").length, 1);
  });

  it("ends at the drain deadline when something is left open", async () => {
    const service = run(`...{ ${started("setInterval(() => {}, 1000);")} }, drainTimeoutMs: 100`);
    await service.until("up");
    service.child.kill("SIGTERM");
    assert.equal(await service.exit, 1);
    assert.ok(service.lines.includes("closing took too long; ending without it"));
  });

  it("cancels a start that is under way", async () => {
    const service = run(
      `start: (signal) => new Promise((_, reject) => { console.log("starting"); signal.addEventListener("abort", () => reject(signal.reason)); })`,
    );
    await service.until("starting");
    service.child.kill("SIGINT");
    assert.equal(await service.exit, 0);
  });

  it("ends with 1 when the start fails and with 2, all problems named, for a configuration", async () => {
    const failed = run(`start: async () => { throw new Error("no disk"); }`);
    assert.equal(await failed.exit, 1);
    assert.deepEqual(failed.lines, ["service failed"]);
    const unusable = run(`start: async () => { throw new ConfigError("site.yaml", ["a: bad", "b: worse"]); }`);
    assert.equal(await unusable.exit, 2);
    assert.deepEqual(unusable.lines, ["site.yaml: a: bad", "site.yaml: b: worse"]);
  });
});
