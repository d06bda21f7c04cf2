import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { ContentError, type ContentErrorKind, digestOf } from "@meridian/oci";
import { BufferPool } from "./buffer-pool.ts";
import { collect, pattern, put } from "./contract-content.ts";
import { fileError } from "./file-error.ts";
import { openStoreIn, temporaryFolder } from "./filesystem-fixture.ts";

const says = (kind: ContentErrorKind, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ContentError, String(error));
  assert.equal(error.kind, kind);
  assert.match(error.message, message);
  assert.doesNotMatch(error.message, /\n/, "one line");
  return true;
};

test("says in one line that a file is where its folder should be", async () => {
  await using folder = await temporaryFolder();
  const root = join(folder.path, "file");
  await writeFile(root, "");
  await assert.rejects(
    openStoreIn(root),
    says("unavailable", /cannot keep blobs in .*file \((EEXIST|ENOTDIR)\): a file is where/),
  );
});

test("says in one line that it may not use its folder", async () => {
  await using folder = await temporaryFolder();
  const root = join(folder.path, "closed", "blobs");
  await mkdir(join(folder.path, "closed"), { mode: 0 });
  // Root may do everything, so be nobody for a moment.
  const isRoot = process.getuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    await assert.rejects(
      openStoreIn(root),
      says("unavailable", /cannot keep blobs in .* \(EACCES\): give this process the right/),
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
});

test("marks its format and refuses another one", async () => {
  await using folder = await temporaryFolder();
  await (await openStoreIn(folder.path))[Symbol.asyncDispose]();
  const mark = join(folder.path, "format");
  assert.deepEqual(JSON.parse(await readFile(mark, "utf8")), { format: 1 });
  await writeFile(mark, '{"format":2}');
  await assert.rejects(openStoreIn(folder.path), says("unavailable", /has format 2, this program knows 1/));
  await writeFile(mark, "what?");
  await assert.rejects(openStoreIn(folder.path), says("unavailable", /unreadable format mark/));
});

test("tells a full disk, a lost right and a broken disk apart", () => {
  const of = (code: string): ContentError =>
    fileError(Object.assign(new Error("x"), { code }), "write an upload", "/srv");
  for (const code of ["ENOSPC", "EDQUOT", "EFBIG"]) assert.equal(of(code).kind, "no-space");
  for (const code of ["EACCES", "EROFS", "EIO", "EXDEV", "EMFILE", "ESTALE"])
    assert.equal(of(code).kind, "unavailable");
  assert.match(of("ENOSPC").message, /no space to write an upload in \/srv \(ENOSPC\): free or add disk space/);
  const known = new ContentError("fenced", "x");
  assert.equal(fileError(known, "x", "/srv"), known);
});

/** Fills an upload until the file may not grow any more, then makes room and goes on. */
const FILLER = `
  process.on("SIGXFSZ", () => {});
  const { openStoreIn } = await import(${JSON.stringify(new URL("./filesystem-fixture.ts", import.meta.url).href)});
  const { pattern, put } = await import(${JSON.stringify(new URL("./contract-content.ts", import.meta.url).href)});
  const store = await openStoreIn(process.argv[1]);
  const before = await put(store, "before", pattern(1000));
  const upload = await store.begin("u");
  await upload.write(pattern(500_000));
  await upload.sync();
  const told = await (async () => { for (;;) await upload.write(pattern(300_000)); })().catch((error) => error);
  console.log(told.name, told.kind, told.message.includes("free or add disk space"));
  console.log((await upload.commit(before).catch((error) => error)).kind);
  console.log((await store.stat(before)).size, (await Array.fromAsync(store.list())).length);
  const resumed = await store.resume("u");
  console.log(resumed.offset);
  await resumed.cancel();
  await put(store, "after", pattern(2000));
  console.log((await Array.fromAsync(store.list())).length);
  await store[Symbol.asyncDispose]();`;

test("a full disk fails the upload with what to do, shows nothing by halves and is over when there is room", {
  timeout: 60_000,
}, async () => {
  await using folder = await temporaryFolder();
  const flags = ["--conditions=meridian-source", "--input-type=module", "--eval", FILLER, folder.path];
  const limited = spawn("sh", ["-c", 'ulimit -f 4096; exec "$0" "$@"', process.execPath, ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = await Array.fromAsync(createInterface({ input: limited.stdout }));
  assert.deepEqual(lines, ["ContentError no-space true", "no-space", "1000 1", "500000", "2"]);
});

test("two hundred slow readers of a large blob hold no more memory than the pool", { timeout: 60_000 }, async () => {
  await using folder = await temporaryFolder();
  const bufferPool = new BufferPool({ maxBuffers: 64 });
  await using store = await openStoreIn(folder.path, { bufferPool });
  const content = pattern(2_000_000);
  await using blob = (await store.open(await put(store, "u", content)))!;
  let ended = 0;
  let most = 0;
  const read = async (): Promise<void> => {
    const sink = {
      async write(): Promise<void> {
        most = Math.max(most, bufferPool.lent);
        await new Promise((resolve) => setImmediate(resolve));
      },
    };
    await blob.read({ start: 0, end: blob.size }, sink);
    ended++;
  };
  await Promise.all(Array.from({ length: 200 }, read));
  assert.equal(ended, 200);
  assert.ok(most <= 64);
  assert.equal(bufferPool.lent, 0);
});

test("a store that is closed takes no uploads, and closing twice is well", async () => {
  await using folder = await temporaryFolder();
  const store = await openStoreIn(folder.path);
  const upload = await store.begin("u");
  await store[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  await assert.rejects(upload.write(pattern(1)), says("not-found", /closed/));
  await assert.rejects(store.begin("v"), says("unavailable", /closed/));
});

test("strange names among the blobs are not blobs", async () => {
  await using folder = await temporaryFolder();
  await using store = await openStoreIn(folder.path);
  const digest = await put(store, "u", pattern(10));
  await writeFile(join(folder.path, "blobs", "sha256", digest.slice(7, 9), "lost+found"), "");
  const misplaced = digestOf("elsewhere").startsWith("sha256:ff") ? "00" : "ff";
  await mkdir(join(folder.path, "blobs", "sha256", misplaced), { recursive: true });
  await writeFile(join(folder.path, "blobs", "sha256", misplaced, digestOf("elsewhere").slice(7)), "");
  await mkdir(join(folder.path, "blobs", "sha256", "zz"));
  assert.deepEqual(
    (await Array.fromAsync(store.list())).map((info) => info.digest),
    [digest],
  );
  await using blob = (await store.open(digest))!;
  assert.equal((await collect(blob)).length, 10);
});
