import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { RawAnswer } from "../harness/raw-http.ts";
import { type Algorithm, digestOf, expect, type Lab, type Row } from "./lab.ts";

const half = Buffer.from("0123456789");
const rest = Buffer.from("abcdefghij");
const whole = Buffer.concat([half, rest]);

const chunk = (lab: Lab, at: string, range: string, body: Buffer): Promise<RawAnswer> =>
  lab.through("PATCH", at, { body, headers: { "content-range": range, "content-type": "application/octet-stream" } });

const close = (lab: Lab, at: string, digest: string, body?: Buffer, headers: Record<string, string> = {}) =>
  lab.through("PUT", `${at}?digest=${digest}`, { body, headers });

/** The blob is there as it should be. */
async function requireBlob(lab: Lab, bytes: Buffer, algorithm: Algorithm = "sha256"): Promise<void> {
  const got = await lab.get(`/blobs/${digestOf(bytes, algorithm)}`);
  expect(got, 200);
  assert.ok(got.body.equals(bytes));
}

/** Pushing blobs (end-4, end-5, end-6, end-13, end-14). */
export const uploadRows: readonly Row[] = [
  {
    section: "end-4a",
    must: "POST begins a session: 202 with a path-absolute Location that has no query, Range 0-0, Docker-Upload-UUID",
    http2: true,
    async run(lab) {
      const begun = await lab.write("POST", "/blobs/uploads/");
      expect(begun, 202);
      assert.match(String(begun.headers.location), new RegExp(`^/v2/${lab.name}/blobs/uploads/[A-Za-z0-9_-]+$`));
      assert.equal(begun.headers.range, "0-0");
      assert.ok(begun.headers["docker-upload-uuid"]);
      assert.equal(begun.body.length, 0);
    },
  },
  {
    section: "end-4a",
    must: "POST without the last slash begins a session too",
    async run(lab) {
      expect(await lab.write("POST", "/blobs/uploads"), 202);
    },
  },
  {
    section: "end-6",
    must: "POST, then PUT of all bytes: 201 with a pullable Location and the digest",
    http2: true,
    async run(lab) {
      const done = await close(lab, await lab.begin(), digestOf(whole), whole);
      expect(done, 201);
      assert.equal(done.headers["docker-content-digest"], digestOf(whole));
      assert.equal(done.headers.location, `/v2/${lab.name}/blobs/${digestOf(whole)}`);
      assert.ok((await lab.get(String(done.headers.location))).body.equals(whole));
    },
  },
  {
    section: "end-4b",
    must: "a single POST with digest stores the body: 201 with Location and digest",
    http2: true,
    async run(lab) {
      const done = await lab.write("POST", `/blobs/uploads/?digest=${digestOf(whole)}`, { body: whole });
      expect(done, 201);
      assert.equal(done.headers["docker-content-digest"], digestOf(whole));
      assert.equal(done.headers.location, `/v2/${lab.name}/blobs/${digestOf(whole)}`);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "end-5",
    must: "each chunk is 202 with Location and the range taken; an empty PUT closes",
    http2: true,
    async run(lab) {
      const first = await chunk(lab, await lab.begin(), "0-9", half);
      expect(first, 202);
      assert.equal(first.headers.range, "0-9");
      const second = await chunk(lab, String(first.headers.location), "10-19", rest);
      expect(second, 202);
      assert.equal(second.headers.range, "0-19");
      expect(await close(lab, String(second.headers.location), digestOf(whole)), 201);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "end-6",
    must: "the last chunk may come with the PUT",
    http2: true,
    async run(lab) {
      const first = await chunk(lab, await lab.begin(), "0-9", half);
      const done = await close(lab, String(first.headers.location), digestOf(whole), rest, {
        "content-range": "10-19",
      });
      expect(done, 201);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "clients.md, Push",
    must: "a PATCH without Content-Range and without length is taken as a stream",
    http2: true,
    async run(lab) {
      const at = await lab.begin();
      const bytes = randomBytes(300_000);
      const patched = await lab.through("PATCH", at, { body: bytes, chunked: true });
      expect(patched, 202);
      assert.equal(patched.headers.range, "0-299999");
      expect(await close(lab, String(patched.headers.location), digestOf(bytes)), 201);
      await requireBlob(lab, bytes);
    },
  },
  {
    section: "clients.md, Push",
    must: "a body without Content-Range goes on where the last acknowledged one ended",
    async run(lab) {
      const at = await lab.begin();
      expect(await lab.through("PATCH", at, { body: half }), 202);
      expect(await close(lab, at, digestOf(whole), rest), 201);
      await requireBlob(lab, whole);
    },
  },
  ...["5-9", "10-19", "1-10"].map(
    (range): Row => ({
      section: "end-5",
      must: `a first chunk with Content-Range ${range} is 416 and takes nothing`,
      async run(lab) {
        const at = await lab.begin();
        const [from = 0, to = 0] = range.split("-").map(Number);
        const refused = await chunk(lab, at, range, whole.subarray(0, to - from + 1));
        expect(refused, 416);
        assert.equal(refused.headers.range, "0-0");
        expect(await close(lab, at, digestOf(whole), whole), 201);
      },
    }),
  ),
  {
    section: "end-5",
    must: "a chunk that leaves a hole or comes twice is 416 with Location and the range taken so far",
    http2: true,
    async run(lab) {
      const at = await lab.begin();
      expect(await chunk(lab, at, "0-9", half), 202);
      for (const range of ["11-20", "0-9", "9-18"]) {
        const refused = await chunk(lab, at, range, rest);
        expect(refused, 416);
        assert.equal(refused.headers.range, "0-9");
        assert.ok(refused.headers.location);
      }
    },
  },
  {
    section: "end-6",
    must: "a last chunk out of order is 416, and the session goes on",
    async run(lab) {
      const at = await lab.begin();
      expect(await chunk(lab, at, "0-9", half), 202);
      expect(await close(lab, at, digestOf(whole), rest, { "content-range": "15-24" }), 416);
      expect(await close(lab, at, digestOf(whole), rest, { "content-range": "10-19" }), 201);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "end-13",
    must: "GET of a session is 204 with Location and the range taken",
    http2: true,
    async run(lab) {
      const at = await lab.begin();
      const before = await lab.get(at);
      expect(before, 204);
      assert.equal(before.headers.range, "0-0");
      expect(await chunk(lab, at, "0-9", half), 202);
      const after = await lab.get(at);
      expect(after, 204);
      assert.equal(after.headers.range, "0-9");
      expect(await chunk(lab, String(after.headers.location), "10-19", rest), 202);
    },
  },
  {
    section: "end-13",
    must: "after a 416 a client asks where it stands and goes on",
    async run(lab) {
      const at = await lab.begin();
      expect(await chunk(lab, at, "0-9", half), 202);
      expect(await chunk(lab, at, "12-21", rest), 416);
      const status = await lab.get(at);
      assert.equal(status.headers.range, "0-9");
      expect(await chunk(lab, String(status.headers.location), "10-19", rest), 202);
      expect(await close(lab, at, digestOf(whole)), 201);
    },
  },
  {
    section: "end-14",
    must: "DELETE of a session is 204; afterwards it is unknown",
    http2: true,
    async run(lab) {
      const at = await lab.begin();
      expect(await chunk(lab, at, "0-9", half), 202);
      expect(await lab.through("DELETE", at), 204);
      expect(await lab.get(at), 404, "BLOB_UPLOAD_UNKNOWN");
      expect(await chunk(lab, at, "10-19", rest), 404, "BLOB_UPLOAD_UNKNOWN");
      expect(await close(lab, at, digestOf(half)), 404, "BLOB_UPLOAD_UNKNOWN");
      expect(await lab.through("DELETE", at), 404, "BLOB_UPLOAD_UNKNOWN");
      expect(await lab.get(`/blobs/${digestOf(half)}`), 404);
    },
  },
  {
    section: "clients.md, Push",
    must: "cancelling needs push only",
    async run(lab) {
      const at = await lab.begin();
      const token = await lab.clients.token(lab.way.writer, [`repository:${lab.name}:pull,push`]);
      expect(await lab.through("DELETE", at, { headers: { authorization: `Bearer ${token}` } }), 204);
    },
  },
  ...(["PUT", "POST"] as const).flatMap((method) =>
    [
      ["another content's digest", digestOf("other")],
      ["another sha512 digest", digestOf("other", "sha512")],
      ["a digest that is cut short", digestOf(whole).slice(0, -1)],
      ["an unknown algorithm", `md5:${"0".repeat(32)}`],
      ["a digest in capitals", digestOf(whole).toUpperCase().replace("SHA", "sha")],
      ["no digest at all", "nothing"],
    ].map(
      ([what, digest = ""]): Row => ({
        section: method === "PUT" ? "end-6" : "end-4b",
        must: `${method} with ${what} is 400 DIGEST_INVALID, and nothing is there`,
        async run(lab) {
          const refused =
            method === "PUT"
              ? await close(lab, await lab.begin(), digest, whole)
              : await lab.write("POST", `/blobs/uploads/?digest=${digest}`, { body: whole });
          expect(refused, 400, "DIGEST_INVALID");
          expect(await lab.get(`/blobs/${digestOf(whole)}`), 404);
        },
      }),
    ),
  ),
  {
    section: "end-6",
    must: "a PUT without a digest is 400 DIGEST_INVALID",
    async run(lab) {
      expect(await lab.through("PUT", await lab.begin(), { body: whole }), 400, "DIGEST_INVALID");
    },
  },
  {
    section: "end-4c",
    must: "?digest-algorithm=sha512: chunks and a sha512 digest",
    http2: true,
    async run(lab) {
      const at = await lab.begin("?digest-algorithm=sha512");
      expect(await chunk(lab, at, "0-9", half), 202);
      const done = await close(lab, at, digestOf(whole, "sha512"), rest, { "content-range": "10-19" });
      expect(done, 201);
      assert.equal(done.headers["docker-content-digest"], digestOf(whole, "sha512"));
      await requireBlob(lab, whole, "sha512");
    },
  },
  {
    section: "end-4c",
    must: "?digest-algorithm=sha256 is the default; one that is not known is 400",
    async run(lab) {
      const at = await lab.begin("?digest-algorithm=sha256");
      expect(await close(lab, at, digestOf(whole), whole), 201);
      expect(await lab.write("POST", "/blobs/uploads/?digest-algorithm=md5"), 400);
    },
  },
  {
    section: "end-4c",
    must: "a sha512 digest is taken without the parameter, in one POST and in chunks",
    async run(lab) {
      const at = await lab.begin();
      expect(await chunk(lab, at, "0-9", half), 202);
      expect(await close(lab, at, digestOf(whole, "sha512"), rest), 201);
      await lab.pushBlob(half, "sha512");
      await requireBlob(lab, whole, "sha512");
      await requireBlob(lab, half, "sha512");
    },
  },
  {
    section: "Pushing blobs",
    must: "the empty blob is pushed by POST, by PUT, and in no chunk at all",
    http2: true,
    async run(lab) {
      const empty = Buffer.alloc(0);
      expect(await close(lab, await lab.begin(), digestOf(empty), empty), 201);
      expect(await close(lab, await lab.begin(), digestOf(empty)), 201);
      expect(await lab.write("POST", `/blobs/uploads/?digest=${digestOf(empty)}`), 201);
      await requireBlob(lab, empty);
    },
  },
  {
    section: "image-spec, Empty Descriptor",
    must: "the two bytes {} are a blob like any other",
    async run(lab) {
      await lab.pushBlob(Buffer.from("{}"));
      await requireBlob(lab, Buffer.from("{}"));
    },
  },
  {
    section: "end-5",
    must: "a chunk whose Content-Range and length disagree is 400 SIZE_INVALID",
    async run(lab) {
      expect(await chunk(lab, await lab.begin(), "0-5", half), 400, "SIZE_INVALID");
    },
  },
  {
    section: "end-5",
    must: "a malformed Content-Range is 400 BLOB_UPLOAD_INVALID",
    async run(lab) {
      for (const range of ["x", "9-0", "0-", "-9"]) {
        expect(await chunk(lab, await lab.begin(), range, half), 400, "BLOB_UPLOAD_INVALID");
      }
    },
  },
  {
    section: "clients.md, Push",
    must: "a commit that is repeated is 201 again",
    async run(lab) {
      const at = await lab.begin();
      expect(await chunk(lab, at, "0-19", whole), 202);
      expect(await close(lab, at, digestOf(whole)), 201);
      expect(await close(lab, at, digestOf(whole)), 201);
    },
  },
  {
    section: "clients.md, Push",
    must: "a last body that is repeated is 201 again",
    async run(lab) {
      const at = await lab.begin();
      expect(await close(lab, at, digestOf(whole), whole), 201);
      expect(await close(lab, at, digestOf(whole), whole), 201);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "end-5",
    must: "a session that does not exist, or is another repository's, is 404 BLOB_UPLOAD_UNKNOWN",
    async run(lab) {
      expect(await lab.through("PATCH", "/blobs/uploads/AAAA", { body: half }), 404, "BLOB_UPLOAD_UNKNOWN");
      const session = (await lab.begin()).split("/").at(-1);
      const elsewhere = `/v2/${lab.other}/blobs/uploads/${session}`;
      expect(await lab.through("PATCH", elsewhere, { body: half }), 404, "BLOB_UPLOAD_UNKNOWN");
    },
  },
  {
    section: "end-4a",
    must: "OCI-Chunk-Min-Length is absent, and chunks of one byte are taken",
    async run(lab) {
      const begun = await lab.write("POST", "/blobs/uploads/");
      assert.equal(begun.headers["oci-chunk-min-length"], undefined);
      const at = String(begun.headers.location);
      expect(await chunk(lab, at, "0-0", half.subarray(0, 1)), 202);
      expect(await chunk(lab, at, "1-1", half.subarray(1, 2)), 202);
      expect(await close(lab, at, digestOf(half.subarray(0, 2))), 201);
    },
  },
  {
    section: "end-6",
    must: "a blob that is there already may be pushed again",
    async run(lab) {
      for (const _ of [1, 2]) expect(await close(lab, await lab.begin(), digestOf(whole), whole), 201);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "end-6",
    must: "a large blob in three chunks, whatever site they go through",
    http2: true,
    async run(lab) {
      const large = randomBytes(1_500_000);
      const at = await lab.begin();
      for (let start = 0; start < large.length; start += 500_000) {
        const site = start === 500_000 ? lab.write.bind(lab) : lab.through.bind(lab);
        const headers = { "content-range": `${start}-${start + 499_999}` };
        expect(await site("PATCH", at, { body: large.subarray(start, start + 500_000), headers }), 202);
      }
      expect(await lab.write("PUT", `${at}?digest=${digestOf(large)}`), 201);
      await requireBlob(lab, large);
    },
  },
  {
    section: "clients.md, Push",
    must: "a blob push tells how many copies it made, and its version",
    async run(lab) {
      const done = await close(lab, await lab.begin(), digestOf(whole), whole);
      assert.equal(done.headers["meridian-copies"], "1");
      assert.ok(done.headers["meridian-version"]);
    },
  },
];

/** Mounting (end-11). */
export const mountRows: readonly Row[] = [
  {
    section: "end-11",
    must: "a mount from a repository that has it is 201 with Location and digest",
    http2: true,
    async run(lab) {
      const digest = await lab.pushBlob(whole, "sha256", lab.other);
      const mounted = await lab.write("POST", `/blobs/uploads/?mount=${digest}&from=${lab.other}`);
      expect(mounted, 201);
      assert.equal(mounted.headers.location, `/v2/${lab.name}/blobs/${digest}`);
      assert.equal(mounted.headers["docker-content-digest"], digest);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "end-11",
    must: "a sha512 blob is mounted",
    async run(lab) {
      const digest = await lab.pushBlob(whole, "sha512", lab.other);
      expect(await lab.write("POST", `/blobs/uploads/?mount=${digest}&from=${lab.other}`), 201);
      await requireBlob(lab, whole, "sha512");
    },
  },
  {
    section: "end-11",
    must: "a mount through another site than the push's is 201",
    async run(lab) {
      const digest = await lab.pushBlob(whole, "sha256", lab.other);
      expect(await lab.head(`/v2/${lab.other}/blobs/${digest}`), 200);
      expect(await lab.through("POST", `/blobs/uploads/?mount=${digest}&from=${lab.other}`), 201);
      await requireBlob(lab, whole);
    },
  },
  {
    section: "end-11",
    must: "a mount of what is not there is 202 with a session that takes the upload",
    http2: true,
    async run(lab) {
      await lab.pushBlob(half, "sha256", lab.other);
      const begun = await lab.write("POST", `/blobs/uploads/?mount=${digestOf(whole)}&from=${lab.other}`);
      expect(begun, 202);
      expect(await close(lab, String(begun.headers.location), digestOf(whole), whole), 201);
    },
  },
  {
    section: "end-11",
    must: "from a repository that does not exist is 202",
    async run(lab) {
      expect(await lab.write("POST", `/blobs/uploads/?mount=${digestOf(whole)}&from=${lab.other}`), 202);
    },
  },
  {
    section: "end-11",
    must: "from is optional: the blob is found in another repository",
    async run(lab) {
      const bytes = randomBytes(60);
      const digest = await lab.pushBlob(bytes, "sha256", lab.other);
      expect(await lab.write("POST", `/blobs/uploads/?mount=${digest}`), 201);
      await requireBlob(lab, bytes);
    },
  },
  {
    section: "end-11",
    must: "without from, a blob that nobody has is 202",
    async run(lab) {
      expect(await lab.write("POST", `/blobs/uploads/?mount=${digestOf(randomBytes(60))}`), 202);
    },
  },
  {
    section: "clients.md, Login",
    must: "a mount whose token lacks the source is 401 insufficient_scope that names both scopes",
    oneSite: true,
    async run(lab) {
      const token = await lab.clients.token(lab.way.writer, [`repository:${lab.name}:pull,push`]);
      const headers = { authorization: `Bearer ${token}` };
      const path = `/blobs/uploads/?mount=${digestOf(whole)}&from=${lab.other}`;
      const refused = await lab.write("POST", path, { headers });
      expect(refused, 401, "UNAUTHORIZED");
      const challenge = String(refused.headers["www-authenticate"]);
      assert.match(challenge, /error="insufficient_scope"/);
      assert.ok(challenge.includes(`repository:${lab.name}:pull,push repository:${lab.other}:pull`));
    },
  },
  {
    section: "end-11",
    must: "a malformed digest is 400 DIGEST_INVALID",
    async run(lab) {
      expect(await lab.write("POST", `/blobs/uploads/?mount=sha256:x&from=${lab.other}`), 400, "DIGEST_INVALID");
    },
  },
  {
    section: "end-11",
    must: "what was mounted stays when it is deleted at its source",
    async run(lab) {
      const digest = await lab.pushBlob(whole, "sha256", lab.other);
      expect(await lab.write("POST", `/blobs/uploads/?mount=${digest}&from=${lab.other}`), 201);
      expect(await lab.write("DELETE", `/v2/${lab.other}/blobs/${digest}`), 202);
      expect(await lab.get(`/v2/${lab.other}/blobs/${digest}`), 404);
      await requireBlob(lab, whole);
    },
  },
];
