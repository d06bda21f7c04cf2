import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "../..");

/** The package graph: a package imports only packages of lower levels. */
const LEVELS: ReadonlyArray<readonly string[]> = [
  ["oci", "runtime", "wire"],
  ["rpc", "pki", "storage", "keyvalue", "eventlog", "limits"],
  ["link", "transfer", "catalog", "policy", "cluster"],
  ["gateway", "blob-node", "replicator", "auth"],
  ["dev", "drill", "console"],
  ["meridian"],
];

interface Manifest {
  readonly name: string;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

const manifests = globSync("packages/*/package.json", { cwd: root }).map((file) => ({
  folder: dirname(join(root, file)),
  manifest: JSON.parse(readFileSync(join(root, file), "utf8")) as Manifest,
}));

/** What a source imports or exports from, statically or not. */
function specifiersOf(text: string): string[] {
  const statements = /^(?:import|export)\b[^;"'`]*?\bfrom "([^"$]+)";?$|^import "([^"$]+)";$|\bimport\("([^"$]+)"\)/gm;
  return [...text.matchAll(statements)].map(([, named, bare, dynamic]) => named ?? bare ?? dynamic ?? "");
}

/** The public entries of a package: "." and what else its manifest exports. */
function entriesOf(name: string): string[] {
  const exports = manifests.find(({ manifest }) => manifest.name === name)?.manifest.exports ?? {};
  return Object.keys(exports);
}

function levelOf(name: string): number {
  return LEVELS.findIndex((level) => level.includes(name.replace("@meridian/", "")));
}

test("every package has a place in the graph, a README and content", () => {
  for (const { folder, manifest } of manifests) {
    assert.notEqual(levelOf(manifest.name), -1, `${manifest.name} is at no level`);
    assert.ok(existsSync(join(folder, "README.md")), `${manifest.name} has no README.md`);
    const sources = globSync("src/**/*.ts", { cwd: folder });
    assert.ok(sources.length > 0, `${manifest.name} is empty`);
  }
});

test("a package depends only on packages of lower levels", () => {
  for (const { manifest } of manifests) {
    for (const name of Object.keys({ ...manifest.dependencies, ...manifest.devDependencies })) {
      if (!name.startsWith("@meridian/")) continue;
      assert.ok(levelOf(name) < levelOf(manifest.name), `${manifest.name} may not depend on ${name}`);
    }
  }
});

test("sources import other packages through public entries that their manifest names", () => {
  for (const { folder, manifest } of manifests) {
    const declared = new Set(Object.keys({ ...manifest.dependencies, ...manifest.devDependencies }));
    for (const file of globSync("src/**/*.ts", { cwd: folder })) {
      const text = readFileSync(join(folder, file), "utf8");
      for (const specifier of specifiersOf(text)) {
        if (specifier.startsWith("node:")) continue;
        if (specifier.startsWith(".")) {
          const target = resolve(folder, dirname(file), specifier);
          assert.ok(
            target.startsWith(join(folder, "src")) || target === join(folder, "package.json"),
            `${manifest.name}/${file} reaches out of its package: ${specifier}`,
          );
          continue;
        }
        const name = specifier.startsWith("@")
          ? specifier.split("/").slice(0, 2).join("/")
          : (specifier.split("/")[0] ?? "");
        assert.ok(
          declared.has(name) || name === manifest.name,
          `${manifest.name}/${file} imports ${name}, which its manifest does not name`,
        );
        if (name.startsWith("@meridian/")) {
          assert.ok(
            entriesOf(name).includes(specifier.replace(name, ".")),
            `${manifest.name}/${file} imports an inner path: ${specifier}`,
          );
        }
      }
    }
  }
});

test("every third-party version comes from the one catalog", () => {
  for (const { manifest } of manifests) {
    for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      assert.equal(version, name.startsWith("@meridian/") ? "workspace:*" : "catalog:", `${manifest.name}: ${name}`);
    }
  }
});

test("project references mirror the manifests", () => {
  for (const { folder, manifest } of manifests) {
    const config = JSON.parse(readFileSync(join(folder, "tsconfig.json"), "utf8")) as {
      references?: Array<{ path: string }>;
    };
    const referenced = (config.references ?? []).map((reference) => `@meridian/${basename(reference.path)}`).sort();
    const named = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies })
      .filter((name) => name.startsWith("@meridian/"))
      .sort();
    assert.deepEqual(referenced, named, manifest.name);
  }
});

test("time, chance and the store come in as parameters where simulations need them", () => {
  const forbidden = /\b(?:Date\.now|setTimeout|setInterval|Math\.random)\s*\(|from "lmdb"/;
  for (const name of ["catalog", "eventlog", "link"]) {
    for (const file of globSync("src/**/*.ts", { cwd: join(root, "packages", name) })) {
      // Tests and the drivers, which are the adapters, may.
      if (file.endsWith(".test.ts") || /(?:embedded|nats|contract)\//.test(file) || file.includes(".fixture."))
        continue;
      const line = readFileSync(join(root, "packages", name, file), "utf8")
        .split("\n")
        .find((text) => forbidden.test(text));
      assert.equal(line, undefined, `packages/${name}/${file}`);
    }
  }
});

test("no file or folder is a dumping ground", () => {
  const rooms = /^(?:utils?|helpers?|common|shared|misc|types|constants)(?:\.ts)?$/;
  for (const file of globSync("{packages/*,test,benchmarks}/src/**/*", { cwd: root })) {
    assert.doesNotMatch(basename(file), rooms, file);
  }
});
