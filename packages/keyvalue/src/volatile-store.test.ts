import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { orderedStoreContract } from "./contract.ts";
import { openLmdbStore } from "./lmdb-store.ts";

let home: string;
let made = 0;
before(async () => {
  home = await mkdtemp(join(tmpdir(), "meridian-volatile-"));
});
after(() => rm(home, { recursive: true, force: true }));

const freshPath = (): string => join(home, String(made++));
const openVolatile = (path: string) => openLmdbStore({ path, volatile: true });

orderedStoreContract("lmdb, volatile", () => openVolatile(freshPath()));

/** What an opening finds under the key, after `between` has done something to the folder. */
async function afterReopening(between: (path: string) => Promise<void>): Promise<string | undefined> {
  const path = freshPath();
  {
    await using store = await openVolatile(path);
    await store.transaction((tx) => tx.put("a", Buffer.from("1")));
  }
  await between(path);
  await using store = await openVolatile(path);
  const value = store.get("a");
  return value && Buffer.from(value).toString();
}

const mark = (path: string, boot: string, clean: boolean): Promise<void> =>
  writeFile(join(path, "boot.json"), JSON.stringify({ boot, clean }));

test("keeps its entries over a clean close, whichever start of the machine follows", async () => {
  assert.equal(await afterReopening(async () => {}), "1");
  assert.equal(await afterReopening((path) => mark(path, "another", true)), "1");
});

test("is empty when the machine went down while it was open", async () => {
  assert.equal(await afterReopening((path) => mark(path, "another", false)), undefined);
});

test("is empty when nobody can say how it was left", async () => {
  assert.equal(await afterReopening((path) => rm(join(path, "boot.json"))), undefined);
  assert.equal(await afterReopening((path) => writeFile(join(path, "boot.json"), "{")), undefined);
});

test("keeps what was committed when its process is killed", async () => {
  const path = freshPath();
  const script = `
    import { openLmdbStore } from ${JSON.stringify(new URL("./lmdb-store.ts", import.meta.url).href)};
    const store = await openLmdbStore({ path: ${JSON.stringify(path)}, volatile: true });
    await store.transaction((tx) => tx.put("a", Buffer.from("1")));
    process.stdout.write("committed");
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ["--conditions=meridian-source", "--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
  assert.equal(JSON.parse(await readFile(join(path, "boot.json"), "utf8")).clean, false);
  await using store = await openVolatile(path);
  assert.equal(Buffer.from(store.get("a")!).toString(), "1");
});
