import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type Descriptor, descriptorOf, digestOf, expect, type Lab, type Row, Type } from "./lab.ts";

const absent = (mediaType: string): Descriptor => descriptorOf(mediaType, randomBytes(20));

async function requireUnknown(lab: Lab, digest: string): Promise<void> {
  expect(await lab.get(`/manifests/${digest}`), 404, "MANIFEST_UNKNOWN");
  expect(await lab.get(`/blobs/${digest}`), 404, "BLOB_UNKNOWN");
  expect(await lab.head(`/blobs/${digest}`), 404);
}

/** What holds with `sparse: true` (image-spec, "Sparse Image Index") and `chunkMinBytes`. */
export const sparseRows: readonly Row[] = [
  {
    section: "image-spec, Sparse Image Index",
    must: "an index is taken without some of its children, which are unknown",
    http2: true,
    async run(lab) {
      const [here, missing] = [await lab.pushImage(), absent(Type.manifest)];
      const { bytes, digest } = await lab.pushIndex("v1", [here.descriptor, missing]);
      for (const reference of ["v1", digest]) {
        const got = await lab.get(`/manifests/${reference}`);
        expect(got, 200);
        assert.ok(got.body.equals(bytes));
      }
      expect(await lab.get(`/manifests/${here.digest}`), 200);
      await requireUnknown(lab, missing.digest);
    },
  },
  {
    section: "Push",
    must: "an image is taken without config and layers",
    async run(lab) {
      const [config, layer] = [absent(Type.config), absent(Type.layer)];
      const image = await lab.image();
      const { bytes } = await lab.pushImage("v1", { config, layers: [layer, ...image.layers] });
      assert.ok((await lab.get("/manifests/v1")).body.equals(bytes));
      expect(await lab.get(`/blobs/${image.layers[0]!.digest}`), 200);
      for (const { digest } of [config, layer]) await requireUnknown(lab, digest);
    },
  },
  {
    section: "image-spec, Sparse Image Index",
    must: "a child that is pushed later is there, at whatever site, and is kept by the index",
    async run(lab) {
      const document = await lab.image();
      const bytes = Buffer.from(JSON.stringify(document));
      const index = await lab.pushIndex("v1", [descriptorOf(Type.manifest, bytes)]);
      const headers = { "content-type": Type.manifest };
      expect(await lab.through("PUT", `/manifests/${digestOf(bytes)}`, { body: bytes, headers }), 201);
      assert.ok((await lab.get(`/manifests/${digestOf(bytes)}`)).body.equals(bytes));
      expect(await lab.through("DELETE", `/manifests/${digestOf(bytes)}`), 405, "UNSUPPORTED");
      expect(await lab.through("DELETE", `/manifests/${index.digest}`), 202);
      expect(await lab.through("DELETE", `/manifests/${digestOf(bytes)}`), 202);
    },
  },
  {
    section: "clients.md, Push",
    must: "what is absent delays no site's receipt, which names it",
    async run(lab) {
      const [here, missing] = [await lab.pushImage(), absent(Type.manifest)];
      await lab.pushIndex("v1", [here.descriptor, missing]);
      const receipt = await lab.get("/_meridian/replication/v1?wait=eu,us&timeout=20s");
      expect(receipt, 200);
      assert.deepEqual(receipt.json().absent, [missing.digest]);
    },
  },
  {
    section: "design.md §4",
    must: "naming what another repository has does not show it here",
    async run(lab) {
      const secret = randomBytes(64);
      await lab.pushBlob(secret, "sha256", lab.other);
      await lab.pushImage("v1", { layers: [descriptorOf(Type.layer, secret)] });
      await requireUnknown(lab, digestOf(secret));
      expect(await lab.get(`/v2/${lab.other}/blobs/${digestOf(secret)}`), 200);
    },
  },
  {
    section: "design.md §4",
    must: "neither does a manifest whose references do not fit into a record",
    async run(lab) {
      const secret = randomBytes(64);
      await lab.pushBlob(secret, "sha256", lab.other);
      const layers = [descriptorOf(Type.layer, secret), ...Array.from({ length: 1_500 }, () => absent(Type.layer))];
      const { digest } = await lab.pushImage("v1", { layers });
      expect(await lab.get(`/manifests/${digest}`), 200);
      expect(await lab.get("/manifests/v1"), 200);
      await requireUnknown(lab, digestOf(secret));
    },
  },
  {
    section: "end-7a",
    must: "what is no manifest, or not what its digest says, is refused as ever",
    async run(lab) {
      expect((await lab.put("v1", { schemaVersion: 2, mediaType: Type.index })).answer, 400, "MANIFEST_INVALID");
      expect((await lab.put(digestOf("x"), await lab.image())).answer, 400, "DIGEST_INVALID");
    },
  },
  {
    section: "end-4a",
    must: "OCI-Chunk-Min-Length tells what is set; a smaller chunk is taken all the same",
    http2: true,
    async run(lab) {
      const begun = await lab.write("POST", "/blobs/uploads/");
      assert.equal(begun.headers["oci-chunk-min-length"], "1048576");
      const at = String(begun.headers.location);
      const body = randomBytes(10);
      const patched = await lab.through("PATCH", at, { body, headers: { "content-range": "0-9" } });
      expect(patched, 202);
      expect(await lab.through("PUT", `${at}?digest=${digestOf(body)}`), 201);
    },
  },
];
