import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { type Descriptor, descriptorOf, digestOf, expect, type Lab, type Row, Type } from "./lab.ts";

const absent = (mediaType: string): Descriptor => descriptorOf(mediaType, randomBytes(20));

async function requireManifest(lab: Lab, reference: string, bytes: Buffer): Promise<void> {
  const got = await lab.get(`/manifests/${reference}`);
  expect(got, 200);
  assert.ok(got.body.equals(bytes));
}

/** A document that must be refused, and with what. */
type Bad = readonly [what: string, make: (lab: Lab) => Promise<unknown> | unknown, code: string];

const BAD: readonly Bad[] = [
  ["no JSON", () => Buffer.from('{"mediaType":"application/vnd.oci.image.manifest.v1+json"'), "MANIFEST_INVALID"],
  ["a list", () => Buffer.from("[]"), "MANIFEST_INVALID"],
  ["no schemaVersion", async (lab) => ({ ...(await lab.image()), schemaVersion: undefined }), "MANIFEST_INVALID"],
  ["no config", async (lab) => ({ ...(await lab.image()), config: undefined }), "MANIFEST_INVALID"],
  ["no layers", async (lab) => ({ ...(await lab.image()), layers: undefined }), "MANIFEST_INVALID"],
  [
    "a malformed digest in it",
    async (lab) => ({ ...(await lab.image()), layers: [{ mediaType: Type.layer, digest: "sha256:x", size: 1 }] }),
    "MANIFEST_INVALID",
  ],
  [
    "layers and children at once (CVE-2021-41190)",
    async (lab) => ({ ...(await lab.image()), manifests: [] }),
    "MANIFEST_INVALID",
  ],
  [
    "an unknown config",
    async (lab) => ({ ...(await lab.image()), config: absent(Type.config) }),
    "MANIFEST_BLOB_UNKNOWN",
  ],
  [
    "an unknown layer",
    async (lab) => ({ ...(await lab.image()), layers: [absent(Type.layer)] }),
    "MANIFEST_BLOB_UNKNOWN",
  ],
  [
    "an unknown child",
    () => ({ schemaVersion: 2, mediaType: Type.index, manifests: [absent(Type.manifest)] }),
    "MANIFEST_BLOB_UNKNOWN",
  ],
];

/** Pushing manifests (end-7). */
export const manifestPushRows: readonly Row[] = [
  {
    section: "end-7a",
    must: "PUT by tag is 201 with a pullable Location and the digest",
    http2: true,
    async run(lab) {
      const { answer, digest, bytes } = await lab.pushImage("v1");
      assert.equal(answer.headers["docker-content-digest"], digest);
      assert.equal(answer.headers.location, `/v2/${lab.name}/manifests/${digest}`);
      assert.equal(answer.headers.etag, `"${digest}"`);
      assert.ok((await lab.get(String(answer.headers.location))).body.equals(bytes));
    },
  },
  {
    section: "end-7a",
    must: "PUT by digest is 201, and makes no tag",
    http2: true,
    async run(lab) {
      const { answer, digest, bytes } = await lab.pushImage();
      assert.equal(answer.headers["docker-content-digest"], digest);
      await requireManifest(lab, digest, bytes);
      assert.deepEqual((await lab.get("/tags/list")).json().tags, []);
    },
  },
  {
    section: "end-7a",
    must: "the very bytes are kept: white space, order and unknown fields",
    async run(lab) {
      const document = { unknown: { "ü\u2028": [1.0, null] }, ...(await lab.image()), extra: "x" };
      const bytes = Buffer.from(`\n ${JSON.stringify(document, null, 3)}\t\n`);
      expect((await lab.put("v1", bytes)).answer, 201);
      await requireManifest(lab, "v1", bytes);
      await requireManifest(lab, digestOf(bytes), bytes);
    },
  },
  {
    section: "end-7a",
    must: "a digest that is not the body's is 400 DIGEST_INVALID, and nothing is there",
    http2: true,
    async run(lab) {
      const image = await lab.image();
      for (const digest of [digestOf("other"), digestOf("other", "sha512")]) {
        expect((await lab.put(digest, image)).answer, 400, "DIGEST_INVALID");
        expect(await lab.get(`/manifests/${digest}`), 404);
      }
      expect(await lab.get(`/manifests/${digestOf(JSON.stringify(image))}`), 404);
    },
  },
  {
    section: "end-7a",
    must: "a Content-Type that is not the document's mediaType is 400 MANIFEST_INVALID",
    async run(lab) {
      const headers = { "content-type": Type.index };
      expect((await lab.put("v1", await lab.image(), { headers })).answer, 400, "MANIFEST_INVALID");
    },
  },
  {
    section: "end-7a",
    must: "a document without mediaType is what its Content-Type says",
    async run(lab) {
      const headers = { "content-type": Type.manifest };
      expect((await lab.put("v1", await lab.image({ mediaType: undefined }), { headers })).answer, 201);
      assert.equal((await lab.head("/manifests/v1")).headers["content-type"], Type.manifest);
    },
  },
  ...BAD.map(
    ([what, make, code]): Row => ({
      section: "end-7a",
      must: `a document with ${what} is 400 ${code}, and no tag is made`,
      async run(lab) {
        await lab.pushImage("other");
        const made = await make(lab);
        const bytes = Buffer.isBuffer(made) ? made : Buffer.from(JSON.stringify(made));
        const index = (made as { mediaType?: string }).mediaType === Type.index;
        const headers = { "content-type": index ? Type.index : Type.manifest };
        expect(await lab.write("PUT", "/manifests/bad", { body: bytes, headers }), 400, code);
        expect(await lab.get("/manifests/bad"), 404, "MANIFEST_UNKNOWN");
      },
    }),
  ),
  {
    section: "end-7a",
    must: "MANIFEST_BLOB_UNKNOWN names what is missing",
    async run(lab) {
      const layers = [absent(Type.layer), absent(Type.layer)];
      const { answer } = await lab.put("v1", await lab.image({ layers }));
      expect(answer, 400, "MANIFEST_BLOB_UNKNOWN");
      const [error] = answer.json<{ errors: Array<{ detail: unknown }> }>().errors;
      assert.deepEqual(
        error?.detail,
        layers.map(({ digest }) => ({ digest })),
      );
    },
  },
  {
    section: "end-7a",
    must: "blobs of another repository do not count",
    async run(lab) {
      const bytes = randomBytes(30);
      await lab.pushBlob(bytes, "sha256", lab.other);
      const layers = [descriptorOf(Type.layer, bytes)];
      expect((await lab.put("v1", await lab.image({ layers }))).answer, 400, "MANIFEST_BLOB_UNKNOWN");
    },
  },
  {
    section: "clients.md, Push",
    must: "layers may have gone through one site and the manifest through the other",
    async run(lab) {
      const bytes = Buffer.from(JSON.stringify(await lab.image()));
      const headers = { "content-type": Type.manifest };
      expect(await lab.through("PUT", "/manifests/v1", { body: bytes, headers }), 201);
      await requireManifest(lab, "v1", bytes);
    },
  },
  {
    section: "end-7a",
    must: "an image without layers",
    async run(lab) {
      const { bytes } = await lab.pushImage("v1", { layers: [] });
      await requireManifest(lab, "v1", bytes);
    },
  },
  {
    section: "end-7a",
    must: "an index, an index of indexes, and an empty index",
    http2: true,
    async run(lab) {
      const [one, two] = [await lab.pushImage(), await lab.pushImage()];
      const index = await lab.pushIndex("index", [one.descriptor, two.descriptor]);
      const nested = await lab.pushIndex("nested", [index.descriptor]);
      const empty = await lab.pushIndex("empty", []);
      for (const [reference, { bytes }] of Object.entries({ index, nested, empty, [one.digest]: one })) {
        await requireManifest(lab, reference, bytes);
      }
    },
  },
  {
    section: "clients.md, Push",
    must: "a child of an index may be a blob (BuildKit's cache)",
    async run(lab) {
      const layer = randomBytes(40);
      const config = Buffer.from('{"layers":[]}');
      await lab.pushBlob(layer);
      await lab.pushBlob(config);
      const { bytes } = await lab.pushIndex("cache", [
        descriptorOf("application/vnd.docker.image.rootfs.diff.tar.gzip", layer),
        descriptorOf("application/vnd.buildkit.cacheconfig.v0", config),
      ]);
      await requireManifest(lab, "cache", bytes);
      expect(await lab.get(`/blobs/${digestOf(layer)}`), 200);
    },
  },
  {
    section: "image-spec, Non-Distributable Layers",
    must: "layers kept elsewhere are not required",
    async run(lab) {
      const foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
      const urls = { ...absent(Type.layer), urls: ["https://elsewhere.example/layer"] };
      const { bytes } = await lab.pushImage("v1", { layers: [absent(foreign), urls] });
      await requireManifest(lab, "v1", bytes);
    },
  },
  {
    section: "image-spec, Embedded Content",
    must: "descriptors with data",
    async run(lab) {
      const image = await lab.image();
      const config = { ...image.config, data: Buffer.from("{}").toString("base64") };
      expect((await lab.put("v1", { ...image, config })).answer, 201);
    },
  },
  {
    section: "image-spec, Artifact Usage",
    must: "an artifact with the empty config, and a config of any media type",
    async run(lab) {
      const empty = Buffer.from("{}");
      await lab.pushBlob(empty);
      const config = descriptorOf("application/vnd.oci.empty.v1+json", empty);
      const artifactType = "application/vnd.example";
      await lab.pushImage("artifact", { artifactType, config, layers: [config] });
      await lab.pushImage("chart", { config: { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" } });
      assert.equal((await lab.get("/manifests/artifact")).json().artifactType, artifactType);
    },
  },
  {
    section: "end-7a",
    must: "a manifest of 4 MiB is taken, one byte more is 413",
    async run(lab) {
      const image = await lab.image({ annotations: { fill: "" } });
      const room = 4 * 1024 * 1024 - JSON.stringify(image).length;
      const fill = (length: number) => ({ ...image, annotations: { fill: "x".repeat(length) } });
      const { answer, bytes } = await lab.put("large", fill(room));
      expect(answer, 201);
      assert.equal(bytes.length, 4 * 1024 * 1024);
      await requireManifest(lab, "large", bytes);
      expect((await lab.put("larger", fill(room + 1))).answer, 413, "SIZE_INVALID");
      expect(await lab.get("/manifests/larger"), 404);
    },
  },
  {
    section: "end-7a",
    must: "the same manifest under the same tag again is 201",
    async run(lab) {
      const image = await lab.image();
      for (const _ of [1, 2]) expect((await lab.put("v1", image)).answer, 201);
      await lab.put("v2", image);
      assert.deepEqual((await lab.get("/tags/list")).json().tags, ["v1", "v2"]);
    },
  },
  {
    section: "end-7b",
    must: "?tag= beside a digest makes each tag and says so in OCI-Tag",
    http2: true,
    async run(lab) {
      const bytes = Buffer.from(JSON.stringify(await lab.image()));
      const { answer } = await lab.put(`${digestOf(bytes)}?tag=1.2.3&tag=1.2&tag=1&tag=latest`, bytes);
      expect(answer, 201);
      assert.equal(answer.headers["oci-tag"], "1.2.3, 1.2, 1, latest");
      for (const tag of ["1.2.3", "1.2", "1", "latest"]) await requireManifest(lab, tag, bytes);
    },
  },
  {
    section: "end-7b",
    must: "50 tags in one push are taken, too many are 414 and make none",
    async run(lab) {
      const bytes = Buffer.from(JSON.stringify(await lab.image()));
      const named = (count: number) => Array.from({ length: count }, (_, i) => `tag=t${i}`).join("&");
      expect((await lab.put(`${digestOf(bytes)}?${named(101)}`, bytes)).answer, 414);
      expect(await lab.get("/manifests/t0"), 404);
      const { answer } = await lab.put(`${digestOf(bytes)}?${named(50)}`, bytes);
      expect(answer, 201);
      assert.equal(String(answer.headers["oci-tag"]).split(", ").length, 50);
      assert.equal((await lab.get("/tags/list")).json<{ tags: string[] }>().tags.length, 50);
    },
  },
  {
    section: "end-7b",
    must: "one malformed tag refuses the push and makes none",
    async run(lab) {
      const bytes = Buffer.from(JSON.stringify(await lab.image()));
      expect((await lab.put(`${digestOf(bytes)}?tag=good&tag=-bad`, bytes)).answer, 400, "NAME_INVALID");
      expect(await lab.get("/manifests/good"), 404);
    },
  },
  {
    section: "image-spec, SHA-512",
    must: "a manifest by its sha512 digest, with tags that name that digest",
    http2: true,
    async run(lab) {
      const bytes = Buffer.from(JSON.stringify(await lab.image()));
      const digest = digestOf(bytes, "sha512");
      const { answer } = await lab.put(`${digest}?tag=a&tag=b`, bytes);
      expect(answer, 201);
      assert.equal(answer.headers["docker-content-digest"], digest);
      for (const reference of [digest, "a", "b"]) {
        const got = await lab.get(`/manifests/${reference}`);
        assert.equal(got.headers["docker-content-digest"], digest);
        assert.ok(got.body.equals(bytes));
      }
      expect(await lab.get(`/manifests/${digestOf(bytes)}`), 404);
    },
  },
  {
    section: "image-spec, SHA-512",
    must: "an image and its index whose parts are all named by sha512",
    async run(lab) {
      const [config, layer] = [Buffer.from('{"a":1}'), randomBytes(50)];
      for (const bytes of [config, layer]) await lab.pushBlob(bytes, "sha512");
      const document = {
        schemaVersion: 2,
        mediaType: Type.manifest,
        config: descriptorOf(Type.config, config, "sha512"),
        layers: [descriptorOf(Type.layer, layer, "sha512")],
      };
      const image = await lab.put(digestOf(JSON.stringify(document), "sha512"), document);
      expect(image.answer, 201);
      const index = await lab.pushIndex("index", [image.descriptor]);
      await requireManifest(lab, "index", index.bytes);
      await requireManifest(lab, image.digest, image.bytes);
    },
  },
  {
    section: "Pushing Manifests with Subject",
    must: "a subject that does not exist is taken, and OCI-Subject names it",
    http2: true,
    async run(lab) {
      const subject = absent(Type.manifest);
      const { answer, bytes } = await lab.pushImage("v1", { subject });
      assert.equal(answer.headers["oci-subject"], subject.digest);
      await requireManifest(lab, "v1", bytes);
    },
  },
  {
    section: "Pushing Manifests with Subject",
    must: "an index may have a subject; without one there is no OCI-Subject",
    async run(lab) {
      const subject = (await lab.pushImage("v1")).descriptor;
      const { answer } = await lab.pushIndex("index", [], { subject });
      assert.equal(answer.headers["oci-subject"], subject.digest);
      assert.equal((await lab.pushImage("v2")).answer.headers["oci-subject"], undefined);
    },
  },
  {
    section: "RFC 9110 §13.1.2",
    must: "If-None-Match: * makes a tag once, then it is 412 PRECONDITION_FAILED with the ETag",
    http2: true,
    async run(lab) {
      const headers = { "if-none-match": "*" };
      const first = await lab.put("v1", await lab.image(), { headers });
      expect(first.answer, 201);
      const second = await lab.put("v1", await lab.image(), { headers });
      expect(second.answer, 412, "PRECONDITION_FAILED");
      assert.equal(second.answer.headers.etag, `"${first.digest}"`);
      await requireManifest(lab, "v1", first.bytes);
    },
  },
  {
    section: "RFC 9110 §13.1.1",
    must: "If-Match moves a tag from the digest that it names, from another it is 412",
    http2: true,
    async run(lab) {
      const first = await lab.pushImage("v1");
      const headers = { "if-match": `"${first.digest}"` };
      const second = await lab.put("v1", await lab.image(), { headers });
      expect(second.answer, 201);
      expect((await lab.put("v1", await lab.image(), { headers })).answer, 412, "PRECONDITION_FAILED");
      expect((await lab.put("v2", await lab.image(), { headers })).answer, 412, "PRECONDITION_FAILED");
      await requireManifest(lab, "v1", second.bytes);
    },
  },
  {
    section: "RFC 9110 §13.1",
    must: "a condition that is malformed, or without a tag, is 400",
    async run(lab) {
      const image = await lab.image();
      expect((await lab.put("v1", image, { headers: { "if-match": '"x"' } })).answer, 400);
      expect((await lab.put("v1", image, { headers: { "if-none-match": '"x"' } })).answer, 400);
      expect((await lab.put("", image, { headers: { "if-none-match": "*" } })).answer, 400);
    },
  },
  {
    section: "Docker image manifest V2, schema 2",
    must: "Docker's manifests and lists are taken and served as such",
    http2: true,
    async run(lab) {
      const image = await lab.pushImage("image", { mediaType: Type.dockerManifest });
      const list = { schemaVersion: 2, mediaType: Type.dockerList, manifests: [image.descriptor] };
      const pushed = await lab.put("list", list);
      expect(pushed.answer, 201);
      const [one, many] = [await lab.get("/manifests/image"), await lab.get("/manifests/list")];
      assert.deepEqual(
        [one, many].map(({ headers }) => headers["content-type"]),
        [Type.dockerManifest, Type.dockerList],
      );
      assert.ok(many.body.equals(pushed.bytes));
    },
  },
  ...["v1+json", "v1+prettyjws"].map(
    (version): Row => ({
      section: "Docker image manifest V2, schema 1",
      must: `${version} is refused with an error that says what to push instead`,
      async run(lab) {
        const document = { schemaVersion: 1, name: lab.name, tag: "v1", fsLayers: [], history: [] };
        const headers = { "content-type": `application/vnd.docker.distribution.manifest.${version}` };
        const { answer } = await lab.put("v1", document, { headers });
        expect(answer, 400, "MANIFEST_INVALID");
        assert.match(String(answer.error?.message), /schemaVersion.*schema 2/);
      },
    }),
  ),
];
