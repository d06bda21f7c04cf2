import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, test } from "node:test";
import { runCommand } from "./harness/dev-process.ts";
import { freePorts } from "./harness/free-ports.ts";

const entry = resolve(import.meta.dirname, "../../packages/meridian/src/main.ts");
const meridian = (...args: string[]) => runCommand(process.execPath, ["--conditions=meridian-source", entry, ...args]);

describe("the command line", () => {
  const everyCommand = [
    "",
    "dev",
    "serve",
    "status",
    "replication",
    "login",
    "user add",
    "user grant",
    "repo set",
    "repo show",
    "site kill",
    "site list",
    "site add",
    "site drain",
    "site remove",
    "site expel",
    "site salvage",
    "process kill",
    "link cut",
    "link limit",
    "clock skew",
  ];
  for (const command of everyCommand) {
    test(`meridian ${command} --help says what it does`, async () => {
      const result = await meridian(...command.split(" ").filter(Boolean), "--help");
      assert.equal(result.code, 0, result.stderr);
      assert.match(result.stdout, /Usage: meridian/);
    });
  }

  test("wrong usage exits with 2", async () => {
    for (const args of [
      ["nonsense"],
      ["serve"],
      ["dev", "--base-port", "0"],
      ["link", "limit", "eu-us", "fast"],
      ["status", "--wrong"],
    ]) {
      const result = await meridian(...args);
      assert.equal(result.code, 2, `${args.join(" ")}: ${result.stderr}`);
      assert.notEqual(result.stderr, "");
    }
  });

  test("options of dev that do not go together are all named, one line each", async () => {
    const result = await meridian("dev", "--sites", "EU,eu!", "--rtt", "eu-mars=5", "--gateways", "2");
    assert.equal(result.code, 2);
    assert.equal(result.stderr.trim().split("\n").length, 3, result.stderr);
  });

  test("a port that is taken is one clear line and exit code 2", async () => {
    const home = mkdtempSync(join(tmpdir(), "meridian-port-"));
    const holder = createServer();
    const [port = 0] = await freePorts(1);
    await new Promise<void>((done) => holder.listen({ host: "127.0.0.1", port }, done));
    const result = await meridian("dev", "--home", home, "--sites", "1", "--base-port", String(port));
    holder.close();
    rmSync(home, { recursive: true });
    assert.equal(result.code, 2, result.stderr);
    assert.match(result.stderr, new RegExp(`^meridian: port ${port} .*--base-port\n$`));
  });

  test("a data folder that cannot be made is one clear line and exit code 2", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "meridian-home-")), "file");
    writeFileSync(file, "");
    chmodSync(file, 0o400);
    const result = await meridian("dev", "--home", join(file, "below"));
    assert.equal(result.code, 2);
    assert.match(result.stderr, /data folder .* cannot be written/);
    assert.equal(result.stderr.trim().split("\n").length, 1);
  });

  test("every problem of a configuration file is listed, then exit code 2", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "meridian-config-")), "site.yaml");
    writeFileSync(file, "format: 2\nlogLevel: loud\nnonsense: 1\nlog: { driver: paper }\n");
    const result = await meridian("serve", "--config", file);
    assert.equal(result.code, 2, result.stderr);
    for (const word of ["format", "logLevel", "nonsense", "log", "topology", "dataDir"])
      assert.match(result.stderr, new RegExp(word));
  });

  test("commands for a dev cluster say so when none runs", async () => {
    const result = await meridian("site", "kill", "eu", "--home", mkdtempSync(join(tmpdir(), "meridian-none-")));
    assert.equal(result.code, 2);
    assert.match(result.stderr, /no dev cluster runs/);
  });
});
