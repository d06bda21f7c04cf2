import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { digestOf } from "./digest.ts";
import { OciError } from "./errors.ts";
import { MAX_DESCRIPTORS, MAX_MANIFEST_BYTES, parseManifest, referrerArtifactType } from "./manifest.ts";
import { MediaType } from "./media-type.ts";

const bytes = (document: unknown): Uint8Array => Buffer.from(JSON.stringify(document));
const descriptor = (mediaType: string, more: object = {}): object => ({
  mediaType,
  digest: digestOf(mediaType),
  size: 3,
  ...more,
});
const config = descriptor(MediaType.ociConfig);
const layer = descriptor(MediaType.ociLayerGzip);
const image = (more: object = {}): object => ({
  schemaVersion: 2,
  mediaType: MediaType.ociManifest,
  config,
  layers: [layer],
  ...more,
});
const index = (more: object = {}): object => ({
  schemaVersion: 2,
  manifests: [descriptor(MediaType.ociManifest)],
  ...more,
});

function refused(document: unknown, contentType: string | undefined, field: string, message = /./): void {
  assert.throws(
    () => parseManifest(bytes(document), contentType),
    (error) => {
      assert.ok(error instanceof OciError);
      assert.deepEqual(
        [error.code, error.status, (error.detail as { field: string }).field],
        ["MANIFEST_INVALID", 400, field],
      );
      assert.match(error.message, message);
      return true;
    },
  );
}

test("reads an image manifest", () => {
  const subject = descriptor(MediaType.ociManifest);
  const manifest = parseManifest(
    bytes(image({ subject, artifactType: "application/x.y", annotations: { a: "b" }, unknown: [1] })),
    `${MediaType.ociManifest}; charset=utf-8`,
  );
  assert.equal(manifest.kind, "manifest");
  assert.equal(manifest.mediaType, MediaType.ociManifest);
  assert.deepEqual(manifest.config, config);
  assert.deepEqual(manifest.layers, [layer]);
  assert.deepEqual(manifest.subject, subject);
  assert.deepEqual(manifest.annotations, { a: "b" });
  assert.deepEqual(
    manifest.references.map(({ role }) => role),
    ["config", "layer"],
  );
  assert.equal(referrerArtifactType(manifest), "application/x.y");
});

test("reads an index, blobs among its children too", () => {
  const blob = descriptor(MediaType.ociLayerGzip, { platform: { os: "linux" } });
  const manifest = parseManifest(
    bytes(index({ manifests: [descriptor(MediaType.ociManifest), blob] })),
    MediaType.ociIndex,
  );
  assert.deepEqual([manifest.kind, manifest.config, manifest.layers], ["index", undefined, []]);
  assert.deepEqual(manifest.manifests[1], blob);
  assert.deepEqual(
    manifest.references.map(({ role }) => role),
    ["child", "child"],
  );
});

test("reads Docker's schema 2 manifests and lists", () => {
  const docker = { ...image(), mediaType: MediaType.dockerManifest };
  assert.equal(parseManifest(bytes(docker), MediaType.dockerManifest).kind, "manifest");
  const list = { ...index(), mediaType: MediaType.dockerManifestList };
  assert.equal(parseManifest(bytes(list)).mediaType, MediaType.dockerManifestList);
});

test("takes the media type from the document, else from the header, else from the shape", () => {
  const silent = image({ mediaType: undefined });
  assert.equal(parseManifest(bytes(silent), MediaType.dockerManifest).mediaType, MediaType.dockerManifest);
  assert.equal(parseManifest(bytes(silent)).mediaType, MediaType.ociManifest);
  assert.equal(parseManifest(bytes(index()), "application/json").mediaType, MediaType.ociIndex);
  assert.equal(parseManifest(bytes(image()), undefined).mediaType, MediaType.ociManifest);
  refused(image(), MediaType.dockerManifest, "mediaType", /Content-Type is application\/vnd\.docker/);
  refused(silent, MediaType.ociIndex, "config", /must not stand in an image index/);
  refused(silent, "text/plain", "mediaType", /accepted are/);
  refused(image({ mediaType: "application/vnd.oci.image.layer.v1.tar" }), undefined, "mediaType", /accepted are/);
});

test("layers that are kept elsewhere are foreign", () => {
  const layers = [
    descriptor(MediaType.dockerForeignLayerGzip),
    descriptor(MediaType.ociForeignLayerZstd),
    descriptor(MediaType.ociLayerGzip, { urls: ["https://example.com/x"] }),
    descriptor(MediaType.ociLayerGzip, { urls: [] }),
  ];
  assert.deepEqual(
    parseManifest(bytes(image({ layers }))).references.map(({ role }) => role),
    ["config", "foreign", "foreign", "foreign", "layer"],
  );
});

test("the artifact type falls back to the config's media type, for an index to nothing", () => {
  assert.equal(referrerArtifactType(parseManifest(bytes(image()))), MediaType.ociConfig);
  assert.equal(referrerArtifactType(parseManifest(bytes(image({ artifactType: "" })))), MediaType.ociConfig);
  assert.equal(referrerArtifactType(parseManifest(bytes(index()))), "");
});

test("takes null for what is absent, as Go programs write it", () => {
  const manifest = parseManifest(bytes(image({ layers: null, subject: null, annotations: null, manifests: null })));
  assert.deepEqual([manifest.layers, manifest.subject, manifest.annotations], [[], undefined, {}]);
});

test("an artifact with the empty descriptor is a manifest like any other", () => {
  const empty = descriptor(MediaType.ociEmpty, { digest: digestOf("{}"), size: 2 });
  const manifest = parseManifest(bytes(image({ config: empty, layers: [empty], artifactType: "application/x.sbom" })));
  assert.equal(referrerArtifactType(manifest), "application/x.sbom");
});

test("names the place of what is wrong", () => {
  refused([], undefined, "the document", /must be an object/);
  refused(image({ schemaVersion: 3 }), undefined, "schemaVersion", /must be 2/);
  refused(image({ config: undefined }), undefined, "config", /is missing/);
  refused(image({ layers: undefined }), undefined, "layers", /is missing/);
  refused(image({ layers: {} }), undefined, "layers", /must be a list/);
  refused(image({ layers: [layer, { ...layer, digest: "sha256:abc" }] }), undefined, "layers[1].digest");
  refused(image({ layers: [{ ...layer, digest: "md5:abc" }] }), undefined, "layers[0].digest");
  refused(image({ layers: [{ ...layer, size: -1 }] }), undefined, "layers[0].size");
  refused(image({ layers: [{ ...layer, size: 1.5 }] }), undefined, "layers[0].size");
  refused(image({ layers: [{ ...layer, size: "3" }] }), undefined, "layers[0].size");
  refused(image({ layers: [{ ...layer, mediaType: "x" }] }), undefined, "layers[0].mediaType");
  refused(image({ layers: [{ ...layer, urls: "x" }] }), undefined, "layers[0].urls");
  refused(image({ subject: {} }), undefined, "subject.digest");
  refused(image({ annotations: { a: 1 } }), undefined, "annotations");
  refused(index({ manifests: 3 }), undefined, "manifests");
});

test("refuses what one client reads as an image and another as an index", () => {
  refused(image({ manifests: [layer] }), undefined, "manifests", /must not stand in an image manifest/);
  refused(index({ layers: [layer] }), MediaType.ociIndex, "layers");
  refused(image({ fsLayers: [] }), undefined, "fsLayers");
});

test("says clearly that schema 1 is not taken", () => {
  refused({ schemaVersion: 1, fsLayers: [] }, undefined, "schemaVersion", /is 1; push/);
  refused({ schemaVersion: 1 }, MediaType.dockerManifestV1Signed, "schemaVersion", /is 1/);
});

test("bounds size, depth and number of entries", () => {
  assert.throws(() => parseManifest(new Uint8Array(MAX_MANIFEST_BYTES + 1)), { code: "MANIFEST_INVALID", status: 413 });
  const deep = Buffer.from(`{"a":${"[".repeat(2_000_000)}`);
  assert.throws(() => parseManifest(deep), { code: "MANIFEST_INVALID", message: /nested deeper/ });
  const brackets = image({ annotations: { a: '"""[{[{[{\\'.repeat(100) } });
  assert.equal(parseManifest(bytes(brackets)).kind, "manifest");
  const many = { schemaVersion: 2, config, layers: Array.from({ length: MAX_DESCRIPTORS + 1 }, () => layer) };
  refused(many, undefined, "layers", /more than/);
});

test("refuses what is not JSON in UTF-8", () => {
  assert.throws(() => parseManifest(Buffer.from("{")), { code: "MANIFEST_INVALID", message: /not valid JSON/ });
  assert.throws(() => parseManifest(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), { message: /not valid UTF-8/ });
  assert.throws(() => parseManifest(new Uint8Array(0)), { message: /not valid JSON/ });
});

test("throws nothing but OciErrors, whatever comes", () => {
  const value = fc.jsonValue();
  const fields = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "subject",
    "artifactType",
    "annotations",
  ];
  const mutated = fc
    .tuple(fc.constantFrom(image(), index()), fc.constantFrom(...fields), value)
    .map(([document, field, value]) => ({ ...document, [field]: value }));
  const mutatedLayer = fc
    .tuple(fc.constantFrom("mediaType", "digest", "size", "urls", "annotations", "platform"), value)
    .map(([field, value]) => image({ layers: [{ ...layer, [field]: value }] }));
  const input = fc.oneof(
    fc.uint8Array(),
    fc.oneof(value, mutated, mutatedLayer).map((document) => bytes(document)),
  );
  fc.assert(
    fc.property(input, fc.option(fc.string(), { nil: undefined }), (input, contentType) => {
      try {
        const manifest = parseManifest(input, contentType);
        assert.equal(
          manifest.references.length,
          manifest.layers.length + manifest.manifests.length + (manifest.config ? 1 : 0),
        );
      } catch (error) {
        if (!(error instanceof OciError)) throw error;
      }
    }),
    { numRuns: 1000 },
  );
});
