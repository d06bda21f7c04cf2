import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { digestOf, expect, type Row } from "./lab.ts";

/** Content management (end-9, end-10). */
export const deleteRows: readonly Row[] = [
  {
    section: "end-9",
    must: "DELETE of a tag is 202, the tag 404 at once, the manifest and other tags stay",
    http2: true,
    async run(lab) {
      const image = await lab.image();
      const { digest } = await lab.put("gone", image);
      await lab.put("kept", image);
      expect(await lab.write("DELETE", "/manifests/gone"), 202);
      expect(await lab.get("/manifests/gone"), 404, "MANIFEST_UNKNOWN");
      expect(await lab.head("/manifests/gone"), 404);
      expect(await lab.get("/manifests/kept"), 200);
      expect(await lab.get(`/manifests/${digest}`), 200);
    },
  },
  {
    section: "end-9",
    must: "DELETE by digest is 202, the digest and every tag of it 404 at once",
    http2: true,
    async run(lab) {
      const image = await lab.image();
      const { digest } = await lab.put("a", image);
      await lab.put("b", image);
      await lab.pushImage("other");
      expect(await lab.write("DELETE", `/manifests/${digest}`), 202);
      for (const reference of ["a", "b", digest]) {
        expect(await lab.get(`/manifests/${reference}`), 404, "MANIFEST_UNKNOWN");
        expect(await lab.head(`/manifests/${reference}`), 404);
      }
      expect(await lab.get("/manifests/other"), 200);
    },
  },
  {
    section: "end-9",
    must: "DELETE through another site than the push's",
    async run(lab) {
      const { digest } = await lab.pushImage("v1");
      expect(await lab.head("/manifests/v1"), 200);
      expect(await lab.through("DELETE", `/manifests/${digest}`), 202);
      expect(await lab.get("/manifests/v1"), 404);
    },
  },
  {
    section: "end-9",
    must: "DELETE of a manifest named by sha512",
    async run(lab) {
      const document = await lab.image();
      const digest = digestOf(JSON.stringify(document), "sha512");
      await lab.put(`${digest}?tag=v1`, document);
      expect(await lab.write("DELETE", `/manifests/${digest}`), 202);
      for (const reference of ["v1", digest]) expect(await lab.get(`/manifests/${reference}`), 404);
    },
  },
  {
    section: "end-9",
    must: "DELETE of what is not there is 404",
    async run(lab) {
      expect(await lab.write("DELETE", "/manifests/v1"), 404);
      expect(await lab.write("DELETE", `/manifests/${digestOf("x")}`), 404);
      await lab.pushImage("v1");
      expect(await lab.write("DELETE", "/manifests/v2"), 404, "MANIFEST_UNKNOWN");
      expect(await lab.write("DELETE", `/manifests/${digestOf("x")}`), 404, "MANIFEST_UNKNOWN");
      expect(await lab.write("DELETE", "/manifests/v1"), 202);
      expect(await lab.write("DELETE", "/manifests/v1"), 404);
    },
  },
  {
    section: "consistency.md §3",
    must: "the child of an index is 405 until the index is gone",
    async run(lab) {
      const child = await lab.pushImage();
      const index = await lab.pushIndex("index", [child.descriptor]);
      expect(await lab.write("DELETE", `/manifests/${child.digest}`), 405, "UNSUPPORTED");
      expect(await lab.write("DELETE", `/manifests/${index.digest}`), 202);
      expect(await lab.get(`/manifests/${child.digest}`), 200);
      expect(await lab.write("DELETE", `/manifests/${child.digest}`), 202);
      expect(await lab.get(`/manifests/${child.digest}`), 404);
    },
  },
  {
    section: "RFC 9110 §13.1.1",
    must: "DELETE of a tag with If-Match keeps a tag that moved",
    async run(lab) {
      const first = await lab.pushImage("v1");
      const second = await lab.pushImage("v1");
      const given = (digest: string) => ({ headers: { "if-match": `"${digest}"` } });
      expect(await lab.write("DELETE", "/manifests/v1", given(first.digest)), 412, "PRECONDITION_FAILED");
      expect(await lab.get("/manifests/v1"), 200);
      expect(await lab.write("DELETE", "/manifests/v1", given(second.digest)), 202);
      expect(await lab.get("/manifests/v1"), 404);
    },
  },
  {
    section: "end-9",
    must: "what was deleted can be pushed again",
    async run(lab) {
      const image = await lab.image();
      const { digest, bytes } = await lab.put("v1", image);
      expect(await lab.write("DELETE", `/manifests/${digest}`), 202);
      expect(await lab.get("/manifests/v1"), 404);
      expect((await lab.put("v1", image)).answer, 201);
      assert.ok((await lab.get("/manifests/v1")).body.equals(bytes));
    },
  },
  {
    section: "end-10",
    must: "DELETE of a blob is 202, and it is 404 at once",
    http2: true,
    async run(lab) {
      for (const algorithm of ["sha256", "sha512"] as const) {
        const digest = await lab.pushBlob(randomBytes(40), algorithm);
        expect(await lab.write("DELETE", `/blobs/${digest}`), 202);
        expect(await lab.get(`/blobs/${digest}`), 404, "BLOB_UNKNOWN");
        expect(await lab.head(`/blobs/${digest}`), 404);
        expect(await lab.write("DELETE", `/blobs/${digest}`), 404, "BLOB_UNKNOWN");
      }
    },
  },
  {
    section: "end-10",
    must: "DELETE of a blob that is not there is 404 BLOB_UNKNOWN",
    async run(lab) {
      expect(await lab.write("DELETE", `/blobs/${digestOf("x")}`), 404, "BLOB_UNKNOWN");
    },
  },
  {
    section: "clients.md, Push",
    must: "DELETE of a blob that a manifest references is 405 and names the manifest; afterwards it is 202",
    async run(lab) {
      const image = await lab.image();
      const { digest } = await lab.put("v1", image);
      const layer = image.layers[0]!.digest;
      const refused = await lab.write("DELETE", `/blobs/${layer}`);
      expect(refused, 405, "UNSUPPORTED");
      assert.ok(refused.body.toString().includes(digest));
      expect(await lab.write("DELETE", `/manifests/${digest}`), 202);
      expect(await lab.write("DELETE", `/blobs/${layer}`), 202);
      expect(await lab.get(`/blobs/${layer}`), 404);
    },
  },
  {
    section: "clients.md, Push",
    must: "a blob of a manifest too large for its record is 405 too",
    async run(lab) {
      const layer = randomBytes(10);
      await lab.pushBlob(layer);
      const listed = { mediaType: "application/vnd.example", digest: digestOf(layer), size: 10 };
      const { digest } = await lab.pushImage("v1", { layers: Array.from({ length: 1_500 }, () => listed) });
      expect(await lab.write("DELETE", `/blobs/${listed.digest}`), 405, "UNSUPPORTED");
      expect(await lab.write("DELETE", `/manifests/${digest}`), 202);
      expect(await lab.write("DELETE", `/blobs/${listed.digest}`), 202);
    },
  },
  {
    section: "end-10",
    must: "a deleted blob is 404 also where a HEAD had found it before",
    async run(lab) {
      const digest = await lab.pushBlob(randomBytes(40));
      expect(await lab.head(`/blobs/${digest}`), 200);
      expect(await lab.write("DELETE", `/blobs/${digest}`), 202);
      expect(await lab.head(`/blobs/${digest}`), 404);
    },
  },
  {
    section: "end-10",
    must: "a blob deleted in one repository stays in the other",
    async run(lab) {
      const digest = await lab.pushBlob(randomBytes(40));
      expect(await lab.write("POST", `/v2/${lab.other}/blobs/uploads/?mount=${digest}&from=${lab.name}`), 201);
      expect(await lab.write("DELETE", `/blobs/${digest}`), 202);
      expect(await lab.get(`/blobs/${digest}`), 404);
      expect(await lab.get(`/v2/${lab.other}/blobs/${digest}`), 200);
    },
  },
  {
    section: "clients.md, Login",
    must: "DELETE needs the scope delete, which `*` has",
    oneSite: true,
    async run(lab) {
      await lab.pushImage("v1");
      const as = async (action: string) => {
        const token = await lab.clients.token(lab.way.writer, [`repository:${lab.name}:${action}`]);
        return lab.write("DELETE", "/manifests/v1", { headers: { authorization: `Bearer ${token}` } });
      };
      expect(await as("pull,push"), 401, "UNAUTHORIZED");
      expect(await as("*"), 202);
    },
  },
];
