import assert from "node:assert/strict";
import fc from "fast-check";
import { isContentError } from "./content-error.ts";
import { digestAlgorithm, digestBytes, digestFromBytes, digestHex, parseDigest, tryParseDigest } from "./digest.ts";
import { isOciError } from "./errors.ts";
import { fuzzTarget, hostileBytes, hostileText, parsedOr } from "./fuzz.ts";
import { MAX_MANIFEST_BYTES, parseManifest } from "./manifest.ts";
import { MANIFEST_MEDIA_TYPES } from "./media-type.ts";
import { formatContentRange, MAX_RANGES, parseContentRange, parseRange } from "./range.ts";
import {
  attachmentSubject,
  parseImageName,
  parseReference,
  parseRepository,
  parseTag,
  tryParseRepository,
  tryParseTag,
} from "./reference.ts";

const hex = (length: number) =>
  fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: length, maxLength: length });
const digest = fc.oneof(
  hex(64).map((text) => `sha256:${text}`),
  hex(128).map((text) => `sha512:${text}`),
);
const word = fc.string({ unit: fc.constantFrom(..."abcxyz019"), minLength: 1, maxLength: 8 });
const repository = fc
  .array(fc.tuple(word, fc.constantFrom("/", ".", "_", "__", "-", "---", "/")), { minLength: 1, maxLength: 6 })
  .map((parts) => parts.map(([text, joint]) => text + joint).join(""))
  .map((text) => text.replace(/[^a-z0-9]+$/, ""));
const tag = fc.string({ unit: fc.constantFrom(..."abcXYZ019._-"), minLength: 1, maxLength: 130 });
const image = fc
  .tuple(
    fc.constantFrom("", "localhost/", "127.0.0.1:5001/", "[::1]:5/", "registry.example.com/"),
    repository,
    tag,
    digest,
  )
  .chain(([host, name, label, hash]) =>
    fc.constantFrom(
      `${host}${name}`,
      `${host}${name}:${label}`,
      `${host}${name}@${hash}`,
      `${host}${name}:${label}@${hash}`,
    ),
  );

const number = fc.oneof(fc.nat({ max: 2_000 }).map(String), fc.bigInt({ min: 0n, max: 10n ** 20n }).map(String));
const range = fc
  .array(fc.tuple(fc.option(number), fc.option(number)), { minLength: 1, maxLength: 5 })
  .map((parts) => `bytes=${parts.map(([first, last]) => `${first ?? ""}-${last ?? ""}`).join(",")}`);
const contentRange = fc
  .tuple(fc.constantFrom("", "bytes ", "bytes="), number, number, fc.constantFrom("", "/*", "/5"))
  .map(([unit, first, last, size]) => `${unit}${first}-${last}${size}`);

const mediaType = fc.constantFrom(...MANIFEST_MEDIA_TYPES, "application/json", "text/html", "", "a/b; charset=utf-8");
const descriptor = fc.record(
  {
    mediaType,
    digest,
    size: fc.oneof(fc.nat(), fc.double(), fc.constant(-1)),
    annotations: fc.dictionary(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), { maxKeys: 3 }),
    urls: fc.array(fc.string({ maxLength: 9 }), { maxLength: 2 }),
    platform: fc.anything({ maxDepth: 1, maxKeys: 2 }),
  },
  { requiredKeys: ["mediaType", "digest", "size"] },
);
const sound = fc.record({ mediaType: fc.constantFrom("a/b"), digest, size: fc.nat() });
const document = fc.oneof(
  fc.record(
    {
      schemaVersion: fc.constantFrom(2, 1, "2"),
      mediaType,
      config: descriptor,
      layers: fc.array(descriptor, { maxLength: 3 }),
      manifests: fc.array(descriptor, { maxLength: 3 }),
      subject: descriptor,
      artifactType: fc.string({ maxLength: 20 }),
      annotations: fc.anything({ maxDepth: 1, maxKeys: 3 }),
    },
    { requiredKeys: ["schemaVersion"] },
  ),
  fc.record({
    schemaVersion: fc.constant(2),
    mediaType: fc.constantFrom(...MANIFEST_MEDIA_TYPES),
    config: sound,
    layers: fc.array(sound, { maxLength: 3 }),
  }),
  fc.record({
    schemaVersion: fc.constant(2),
    mediaType: fc.constantFrom(...MANIFEST_MEDIA_TYPES),
    manifests: fc.array(sound, { maxLength: 3 }),
  }),
);
const json = document.map((value) => JSON.stringify(value));
const utf8 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "utf8"));
const manifest = fc.oneof(hostileText(json).map(utf8), hostileBytes(json.map(utf8)));

/** The specification's words. Accepted means: the very text that was given. */
export const targets = [
  fuzzTarget("reference", hostileText(fc.oneof(repository, tag, digest)), (text) => {
    const name = parsedOr(isOciError, () => parseRepository(text));
    assert.equal(name, tryParseRepository(text));
    if (name !== undefined)
      assert.ok(name === text && text.length <= 255 && !/\.\.|[^a-z0-9._/-]|^[/.]|\/$|\/\//.test(text));
    const label = parsedOr(isOciError, () => parseTag(text));
    assert.equal(label, tryParseTag(text));
    if (label !== undefined) assert.ok(label === text && text.length <= 128 && !/[^A-Za-z0-9._-]/.test(text));
    const reference = parsedOr(isOciError, () => parseReference(text));
    if (reference !== undefined) assert.equal(reference.kind === "tag" ? reference.tag : reference.digest, text);
    const subject = attachmentSubject(text);
    if (subject !== undefined) assert.ok(tryParseDigest(subject) !== undefined && text.includes(digestHex(subject)));
  }),
  fuzzTarget("image name", hostileText(image), (text) => {
    const name = parsedOr(isOciError, () => parseImageName(text));
    if (name === undefined) return;
    assert.equal(tryParseRepository(name.repository), name.repository);
    const again = `${name.repository}${name.tag === undefined ? "" : `:${name.tag}`}${name.digest === undefined ? "" : `@${name.digest}`}`;
    assert.ok(text.endsWith(again), `${JSON.stringify(text)} read as ${again}`);
  }),
  fuzzTarget("digest", hostileText(digest), (text) => {
    const parsed = parsedOr(isContentError, () => parseDigest(text));
    assert.equal(parsed, tryParseDigest(text));
    if (parsed === undefined) return;
    assert.equal(parsed, text);
    assert.equal(digestFromBytes(digestAlgorithm(parsed), digestBytes(parsed)), text);
  }),
  fuzzTarget(
    "range",
    fc.tuple(hostileText(range), fc.oneof(fc.nat({ max: 3_000 }), fc.constantFrom(0, 1, 2 ** 52))),
    ([text, size]) => {
      const spans = parsedOr(isOciError, () => parseRange(text, size)) ?? [];
      assert.ok(spans.length <= MAX_RANGES);
      for (const { start, end } of spans) {
        assert.ok(Number.isSafeInteger(start) && Number.isSafeInteger(end), text);
        assert.ok(0 <= start && start < end && end <= size, `${text} of ${size}: ${start} to ${end}`);
        assert.deepEqual(parseRange(`bytes=${start}-${end - 1}`, size), [{ start, end }]);
      }
    },
  ),
  fuzzTarget("content-range", hostileText(contentRange), (text) => {
    const span = parsedOr(isOciError, () => parseContentRange(text));
    if (span === undefined) return;
    assert.ok(Number.isSafeInteger(span.start) && Number.isSafeInteger(span.end) && span.start < span.end, text);
    assert.deepEqual(parseContentRange(formatContentRange(span, span.end)), span);
    assert.deepEqual(parseContentRange(`${span.start}-${span.end - 1}`), span);
  }),
  fuzzTarget(
    "manifest",
    fc.tuple(manifest, fc.option(hostileText(mediaType), { nil: undefined })),
    ([bytes, contentType]) => {
      const before = Buffer.from(bytes).toString("latin1");
      const parsed = parsedOr(isOciError, () => parseManifest(bytes, contentType));
      assert.equal(Buffer.from(bytes).toString("latin1"), before, "the bytes were changed");
      if (parsed === undefined) return;
      assert.ok(bytes.length <= MAX_MANIFEST_BYTES);
      assert.deepEqual(parseManifest(bytes, parsed.mediaType), parsed, "it reads differently under its own media type");
      for (const { descriptor: part } of parsed.references) {
        assert.equal(tryParseDigest(part.digest), part.digest);
        assert.ok(Number.isSafeInteger(part.size) && part.size >= 0);
      }
      for (const [name, value] of Object.entries(parsed.annotations)) assert.equal(typeof value, "string", name);
    },
  ),
];
