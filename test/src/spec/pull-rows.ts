import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { digestOf, expect, type Lab, type Row, Type } from "./lab.ts";

const CACHED = "private, max-age=31536000, immutable, no-transform";

/** Pulling and asking for manifests (end-3). */
export const manifestPullRows: readonly Row[] = [
  {
    section: "end-3",
    must: "GET by tag and by digest give the stored bytes with 200",
    http2: true,
    async run(lab) {
      const { bytes, digest } = await lab.pushImage("v1");
      for (const reference of ["v1", digest]) {
        const got = await lab.get(`/manifests/${reference}`);
        expect(got, 200);
        assert.deepEqual(got.body, bytes);
      }
    },
  },
  {
    section: "end-3",
    must: "HEAD by tag and by digest give 200, the size, and no body",
    http2: true,
    async run(lab) {
      const { bytes, digest } = await lab.pushImage("v1");
      for (const reference of ["v1", digest]) {
        const got = await lab.head(`/manifests/${reference}`);
        expect(got, 200);
        assert.equal(got.headers["content-length"], String(bytes.length));
        assert.equal(got.body.length, 0);
      }
    },
  },
  {
    section: "end-3",
    must: "Docker-Content-Digest stands on GET and HEAD, by tag and by digest",
    http2: true,
    async run(lab) {
      const { digest } = await lab.pushImage("v1");
      for (const reference of ["v1", digest]) {
        for (const method of ["GET", "HEAD"]) {
          const got = await lab.read(method, `/manifests/${reference}`);
          assert.equal(got.headers["docker-content-digest"], digest);
        }
      }
    },
  },
  {
    section: "end-3",
    must: "Content-Type is what was pushed, without parameters",
    async run(lab) {
      const { bytes, digest } = await lab.put("v1", await lab.image(), {
        headers: { "content-type": `${Type.manifest}; charset=utf-8` },
      });
      assert.ok(bytes.length > 0);
      for (const reference of ["v1", digest]) {
        assert.equal((await lab.get(`/manifests/${reference}`)).headers["content-type"], Type.manifest);
      }
    },
  },
  {
    section: "content-negotiation",
    must: "what is stored is served whatever Accept says",
    async run(lab) {
      const { bytes } = await lab.pushImage("v1");
      for (const accept of [Type.index, "text/html", "*/*", `${Type.manifest};q=0`]) {
        const got = await lab.get("/manifests/v1", { accept });
        expect(got, 200);
        assert.deepEqual(got.body, bytes);
        assert.equal(got.headers["content-type"], Type.manifest);
      }
    },
  },
  {
    section: "end-3",
    must: "an unknown tag is 404 MANIFEST_UNKNOWN, by HEAD without a body",
    http2: true,
    async run(lab) {
      await lab.pushImage("v1");
      expect(await lab.get("/manifests/v2"), 404, "MANIFEST_UNKNOWN");
      const headed = await lab.head("/manifests/v2");
      expect(headed, 404);
      assert.equal(headed.body.length, 0);
    },
  },
  {
    section: "end-3",
    must: "an unknown digest is 404 MANIFEST_UNKNOWN",
    async run(lab) {
      await lab.pushImage("v1");
      for (const algorithm of ["sha256", "sha512"] as const) {
        expect(await lab.get(`/manifests/${digestOf("unknown", algorithm)}`), 404, "MANIFEST_UNKNOWN");
        expect(await lab.head(`/manifests/${digestOf("unknown", algorithm)}`), 404);
      }
    },
  },
  {
    section: "end-3",
    must: "a repository that does not exist is 404",
    async run(lab) {
      expect(await lab.get("/manifests/v1"), 404, "NAME_UNKNOWN");
      expect(await lab.get(`/manifests/${digestOf("x")}`), 404);
    },
  },
  {
    section: "end-3",
    must: "a malformed digest is 400 DIGEST_INVALID",
    async run(lab) {
      for (const digest of ["sha256:x", `sha256:${"A".repeat(64)}`, `md5:${"a".repeat(32)}`, "sha512:abc"]) {
        expect(await lab.get(`/manifests/${digest}`), 400, "DIGEST_INVALID");
      }
    },
  },
  {
    section: "Pulling manifests",
    must: "a tag may have 128 characters, and no more",
    async run(lab) {
      const longest = "a".repeat(128);
      const image = await lab.image();
      expect((await lab.put(longest, image)).answer, 201);
      expect(await lab.get(`/manifests/${longest}`), 200);
      expect((await lab.put(`${longest}a`, image)).answer, 400, "NAME_INVALID");
      expect(await lab.get(`/manifests/${longest}a`), 404);
    },
  },
  {
    section: "Pulling manifests",
    must: "every tag of the grammar is taken, and no other",
    async run(lab) {
      const image = await lab.image();
      for (const tag of ["_", "A.b-c_d", "1", "v1.0.0-rc.1_x", "latest"]) {
        expect((await lab.put(tag, image)).answer, 201);
        expect(await lab.get(`/manifests/${tag}`), 200);
      }
      for (const tag of [".a", "-a", "a+b", "a%20b"]) expect((await lab.put(tag, image)).answer, 400, "NAME_INVALID");
    },
  },
  {
    section: "Pulling manifests",
    must: "names that break the grammar are 400 NAME_INVALID",
    oneSite: true,
    async run(lab) {
      for (const name of ["Upper/case", "a..b", "a/-b", "a___b", "a.", "x".repeat(256), "a/b_"]) {
        expect(await lab.get(`/v2/${name}/manifests/v1`), 400, "NAME_INVALID");
        expect(await lab.write("POST", `/v2/${name}/blobs/uploads/`), 400, "NAME_INVALID");
      }
    },
  },
  {
    section: "RFC 9110 §8.8.3",
    must: "ETag is the quoted digest, on GET and HEAD",
    async run(lab) {
      const { digest } = await lab.pushImage("v1");
      for (const method of ["GET", "HEAD"]) {
        assert.equal((await lab.read(method, "/manifests/v1")).headers.etag, `"${digest}"`);
      }
    },
  },
  {
    section: "RFC 9110 §13.1.2",
    must: "If-None-Match that names the digest is 304 without a body",
    http2: true,
    async run(lab) {
      const { digest } = await lab.pushImage("v1");
      for (const known of [`"${digest}"`, `W/"${digest}"`, `"x", "${digest}"`, "*"]) {
        for (const reference of ["v1", digest]) {
          const got = await lab.get(`/manifests/${reference}`, { "if-none-match": known });
          expect(got, 304);
          assert.equal(got.body.length, 0);
          assert.equal(got.headers.etag, `"${digest}"`);
        }
      }
      expect(await lab.head("/manifests/v1", { "if-none-match": `"${digest}"` }), 304);
    },
  },
  {
    section: "RFC 9110 §13.1.2",
    must: "If-None-Match that names something else is 200 with the bytes",
    async run(lab) {
      const { bytes } = await lab.pushImage("v1");
      const got = await lab.get("/manifests/v1", { "if-none-match": `"${digestOf("old")}"` });
      expect(got, 200);
      assert.deepEqual(got.body, bytes);
    },
  },
  {
    section: "clients.md, Pull",
    must: "what a digest names may be kept for ever, what a tag names is asked again, errors are not kept",
    async run(lab) {
      const { digest } = await lab.pushImage("v1");
      const cacheControl = async (path: string) => (await lab.get(path)).headers["cache-control"];
      assert.equal(await cacheControl(`/manifests/${digest}`), CACHED);
      assert.equal(await cacheControl("/manifests/v1"), "no-cache, no-transform");
      assert.equal(await cacheControl("/manifests/v2"), "no-store");
    },
  },
  {
    section: "clients.md, Pull",
    must: "a manifest is never content-coded",
    async run(lab) {
      const { bytes } = await lab.pushImage("v1");
      const got = await lab.get("/manifests/v1", { "accept-encoding": "zstd, gzip" });
      assert.equal(got.headers["content-encoding"], undefined);
      assert.deepEqual(got.body, bytes);
    },
  },
  {
    section: "end-3",
    must: "a tag that moved names the new manifest at once",
    async run(lab) {
      const first = await lab.pushImage("v1");
      assert.equal((await lab.head("/manifests/v1")).headers["docker-content-digest"], first.digest);
      const second = await lab.pushImage("v1");
      assert.equal((await lab.head("/manifests/v1")).headers["docker-content-digest"], second.digest);
      assert.deepEqual((await lab.get(`/manifests/${first.digest}`)).body, first.bytes);
    },
  },
  {
    section: "Registry Proxying",
    must: "an ns parameter changes nothing",
    async run(lab) {
      const { bytes } = await lab.pushImage("v1");
      const got = await lab.get("/manifests/v1?ns=meridian.dev");
      expect(got, 200);
      assert.deepEqual(got.body, bytes);
      assert.equal(got.headers["oci-namespace"], undefined);
    },
  },
  {
    section: "clients.md, Pull",
    must: "the answer says which site and node served it, and of which version",
    async run(lab) {
      await lab.pushImage("v1");
      const { headers } = await lab.get("/manifests/v1");
      assert.equal(headers["meridian-site"], lab.way.reader);
      assert.match(String(headers["meridian-served-by"]), /^(eu|us)\/\w/);
      assert.match(String(headers["meridian-route"]), /^(memory|local|stream)$/);
      assert.ok(headers["meridian-version"]);
    },
  },
];

const blob = Buffer.from("0123456789abcdefghijklmnopqrstuvwxyz");

/** A range of {@link blob} and what is to be answered: the text, or 416. */
const RANGES: ReadonlyArray<readonly [string, string]> = [
  ["bytes=0-0", "0"],
  ["bytes=0-9", "0123456789"],
  ["bytes=10-", "abcdefghijklmnopqrstuvwxyz"],
  ["bytes=-3", "xyz"],
  ["bytes=-100", blob.toString()],
  ["bytes=30-1000", "uvwxyz"],
  ["bytes=0-35", blob.toString()],
];
const UNSATISFIABLE = ["bytes=36-", "bytes=36-40", "bytes=1000-2000", "bytes=-0", "bytes=9-5", "bytes=x-y"];

async function pushed(lab: Lab): Promise<string> {
  return `/blobs/${await lab.pushBlob(blob)}`;
}

/** Pulling and asking for blobs (end-2). */
export const blobPullRows: readonly Row[] = [
  {
    section: "end-2",
    must: "GET gives the bytes with 200, size and digest",
    http2: true,
    async run(lab) {
      const got = await lab.get(await pushed(lab));
      expect(got, 200);
      assert.deepEqual(got.body, blob);
      assert.equal(got.headers["content-length"], "36");
      assert.equal(got.headers["docker-content-digest"], digestOf(blob));
      assert.equal(got.headers["content-type"], "application/octet-stream");
    },
  },
  {
    section: "end-2",
    must: "HEAD gives 200, size and digest, and no body and no redirect",
    http2: true,
    async run(lab) {
      const got = await lab.head(await pushed(lab));
      expect(got, 200);
      assert.equal(got.body.length, 0);
      assert.equal(got.headers["content-length"], "36");
      assert.equal(got.headers["docker-content-digest"], digestOf(blob));
    },
  },
  {
    section: "end-2",
    must: "an unknown blob is 404 BLOB_UNKNOWN, by HEAD 404 without a body",
    http2: true,
    async run(lab) {
      await pushed(lab);
      expect(await lab.get(`/blobs/${digestOf("unknown")}`), 404, "BLOB_UNKNOWN");
      const headed = await lab.head(`/blobs/${digestOf("unknown")}`);
      expect(headed, 404);
      assert.equal(headed.body.length, 0);
    },
  },
  {
    section: "end-2",
    must: "a malformed digest is 400 DIGEST_INVALID",
    async run(lab) {
      expect(await lab.get("/blobs/sha256:nothex"), 400, "DIGEST_INVALID");
      expect(await lab.get(`/blobs/sha1:${"a".repeat(40)}`), 400, "DIGEST_INVALID");
    },
  },
  {
    section: "end-2",
    must: "a blob of another repository is 404 here",
    async run(lab) {
      const digest = await lab.pushBlob(randomBytes(50), "sha256", lab.other);
      await pushed(lab);
      expect(await lab.get(`/blobs/${digest}`), 404, "BLOB_UNKNOWN");
      expect(await lab.head(`/blobs/${digest}`), 404);
      expect(await lab.get(`/v2/${lab.other}/blobs/${digest}`), 200);
    },
  },
  {
    section: "end-2",
    must: "a sha512 blob is pulled by its sha512 digest, which the answer names",
    http2: true,
    async run(lab) {
      const digest = await lab.pushBlob(blob, "sha512");
      for (const method of ["GET", "HEAD"]) {
        const got = await lab.read(method, `/blobs/${digest}`);
        expect(got, 200);
        assert.equal(got.headers["docker-content-digest"], digest);
      }
      expect(await lab.get(`/blobs/${digestOf(blob)}`), 404);
    },
  },
  {
    section: "end-2",
    must: "the empty blob is pulled like any other",
    http2: true,
    async run(lab) {
      const digest = await lab.pushBlob(Buffer.alloc(0));
      for (const method of ["GET", "HEAD"]) {
        const got = await lab.read(method, `/blobs/${digest}`);
        expect(got, 200);
        assert.equal(got.headers["content-length"], "0");
        assert.equal(got.body.length, 0);
      }
    },
  },
  {
    section: "RFC 9110 §14.3",
    must: "Accept-Ranges: bytes, ETag and Cache-Control stand on GET and HEAD",
    async run(lab) {
      const path = await pushed(lab);
      for (const method of ["GET", "HEAD"]) {
        const { headers } = await lab.read(method, path);
        assert.equal(headers["accept-ranges"], "bytes");
        assert.equal(headers.etag, `"${digestOf(blob)}"`);
        assert.equal(headers["cache-control"], CACHED);
      }
    },
  },
  {
    section: "RFC 9110 §13.1.2",
    must: "If-None-Match that names the digest is 304",
    async run(lab) {
      const got = await lab.get(await pushed(lab), { "if-none-match": `"${digestOf(blob)}"` });
      expect(got, 304);
      assert.equal(got.body.length, 0);
    },
  },
  ...RANGES.map(
    ([range, text]): Row => ({
      section: "RFC 9110 §14.2",
      must: `${range} of 36 bytes is 206 with ${text.length} of them`,
      http2: range === "bytes=10-",
      async run(lab) {
        const got = await lab.get(await pushed(lab), { range });
        expect(got, 206);
        assert.equal(got.body.toString(), text);
        assert.equal(got.headers["content-length"], String(text.length));
        const start = blob.indexOf(text);
        assert.equal(got.headers["content-range"], `bytes ${start}-${start + text.length - 1}/36`);
      },
    }),
  ),
  ...UNSATISFIABLE.map(
    (range): Row => ({
      section: "RFC 9110 §15.5.17",
      must: `${range} of 36 bytes is 416 with the size`,
      async run(lab) {
        const got = await lab.get(await pushed(lab), { range });
        expect(got, 416);
        assert.equal(got.headers["content-range"], "bytes */36");
      },
    }),
  ),
  {
    section: "RFC 9110 §14.2",
    must: "a range of an empty blob: 416, or all of nothing for a suffix",
    async run(lab) {
      const path = `/blobs/${await lab.pushBlob(Buffer.alloc(0))}`;
      expect(await lab.get(path, { range: "bytes=0-5" }), 416);
      expect(await lab.get(path, { range: "bytes=-5" }), 200);
    },
  },
  {
    section: "RFC 9110 §14.2",
    must: "a range in another unit gives the whole",
    async run(lab) {
      const got = await lab.get(await pushed(lab), { range: "lines=1-2" });
      expect(got, 200);
      assert.deepEqual(got.body, blob);
    },
  },
  {
    section: "RFC 9110 §14.6",
    must: "several ranges come as multipart/byteranges, in the order asked for, overlaps kept",
    http2: true,
    async run(lab) {
      const got = await lab.get(await pushed(lab), { range: "bytes=30-,0-4,2-5" });
      expect(got, 206);
      const boundary = /^multipart\/byteranges; boundary=(\S+)$/.exec(String(got.headers["content-type"]))?.[1];
      const parts = got.body.toString().split(`--${boundary}`).slice(1, -1);
      const bodies = parts.map((part) => part.split("\r\n\r\n")[1]!.trimEnd());
      assert.deepEqual(bodies, ["uvwxyz", "01234", "2345"]);
      assert.match(parts[0]!, /Content-Range: bytes 30-35\/36/);
    },
  },
  {
    section: "clients.md, Pull",
    must: "512 ranges are served, 513 are 400",
    async run(lab) {
      const path = await pushed(lab);
      const ranges = (count: number) => `bytes=${Array.from({ length: count }, () => "1-2").join(",")}`;
      expect(await lab.get(path, { range: ranges(512) }), 206);
      expect(await lab.get(path, { range: ranges(513) }), 400);
    },
  },
  {
    section: "RFC 9110 §13.1.5",
    must: "If-Range gives the range only when it names the digest",
    async run(lab) {
      const path = await pushed(lab);
      expect(await lab.get(path, { range: "bytes=0-4", "if-range": `"${digestOf(blob)}"` }), 206);
      expect(await lab.get(path, { range: "bytes=0-4", "if-range": `"${digestOf("old")}"` }), 200);
    },
  },
  {
    section: "clients.md, Pull",
    must: "a blob is never content-coded, also with a range",
    async run(lab) {
      const got = await lab.get(await pushed(lab), { "accept-encoding": "zstd, gzip", range: "bytes=0-4" });
      assert.equal(got.headers["content-encoding"], undefined);
      assert.equal(got.body.toString(), "01234");
    },
  },
  {
    section: "end-2",
    must: "a blob larger than any buffer comes whole, and in its middle",
    http2: true,
    async run(lab) {
      const large = randomBytes(3 * 1024 * 1024 + 17);
      const path = `/blobs/${await lab.pushBlob(large)}`;
      assert.equal(digestOf((await lab.get(path)).body), digestOf(large));
      const middle = await lab.get(path, { range: "bytes=1000000-2999999" });
      expect(middle, 206);
      assert.ok(middle.body.equals(large.subarray(1_000_000, 3_000_000)));
    },
  },
];
