import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { ConfigError, loadConfigFile, parseConfig } from "./config.ts";

const schema = z.strictObject({
  site: z.string(),
  port: z.number().int().max(65_535).default(5_000),
  peers: z.array(z.strictObject({ name: z.string() })).default([]),
  log: z
    .discriminatedUnion("driver", [
      z.strictObject({ driver: z.literal("embedded"), dir: z.string() }),
      z.strictObject({ driver: z.literal("nats"), servers: z.array(z.string()) }),
    ])
    .optional(),
});

function problems(text: string): readonly string[] {
  try {
    parseConfig(schema, text, { source: "site.yaml" });
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    assert.ok(error.message.startsWith("site.yaml cannot be used:\n  "));
    return error.problems;
  }
  return assert.fail("the config was accepted");
}

describe("parseConfig", () => {
  it("returns the typed value with defaults", () => {
    const config = parseConfig(schema, "site: eu\npeers: [{ name: us }]\n", { source: "site.yaml" });
    assert.deepEqual(config, { site: "eu", port: 5_000, peers: [{ name: "us" }] });
  });

  it("names all problems at once, with their paths", () => {
    const found = problems(
      "port: 70000\nsiet: eu\npeers: [{ name: us }, { name: 3, colour: red }]\nlog: { driver: embedded }\n",
    );
    assert.equal(found.length, 6);
    for (const start of [
      "site: ",
      "port: ",
      "siet: unknown key",
      "peers[1].name: ",
      "peers[1].colour: unknown key",
      "log.dir: ",
    ]) {
      assert.ok(
        found.some((problem) => problem.startsWith(start)),
        `${start} in ${JSON.stringify(found)}`,
      );
    }
  });

  it("names line and column of bad YAML, and keys that are given twice", () => {
    assert.match(String(problems("site: eu\npeers: [}\n")[0]), /^line 2, column \d+: /);
    assert.match(String(problems("site: eu\nsite: us\n")[0]), /^line 2, column 1: /);
  });

  it("treats an empty file as an empty object, and refuses what is none", () => {
    assert.deepEqual(problems("").length, 1);
    assert.match(String(problems("- a\n")[0]), /object/);
  });

  it("never repeats a value", () => {
    assert.doesNotMatch(problems("site: eu\nport: hunter2\n").join(), /hunter2/);
  });

  it("refuses a schema that would ignore unknown keys", () => {
    const loose = z.strictObject({ listen: z.array(z.object({ port: z.number() })).optional() });
    assert.throws(() => parseConfig(loose, "", { source: "x" }), { name: "TypeError", message: /\.listen/ });
  });
});

describe("loadConfigFile", () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "meridian-config-"));
  });
  after(() => rm(dir, { recursive: true }));

  it("reads a file", async () => {
    const path = join(dir, "site.yaml");
    await writeFile(path, "site: eu\n");
    assert.equal((await loadConfigFile(schema, path)).site, "eu");
  });

  it("says which file is missing or unreadable", async () => {
    const missing = join(dir, "none.yaml");
    await assert.rejects(loadConfigFile(schema, missing), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.deepEqual(error.problems, ["there is no such file"]);
      return error.message.includes(missing);
    });
    await assert.rejects(loadConfigFile(schema, dir), { problems: ["this is a folder, not a file"] });
  });
});
