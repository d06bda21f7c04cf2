import type { Descriptor } from "./descriptor.ts";
import { tryParseDigest } from "./digest.ts";
import { OciError } from "./errors.ts";

// RFC 6838 §4.2, as image-spec's descriptor.md asks.
const MEDIA_TYPE = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;

/** A JSON object whose fields nobody has looked at yet. */
export type JsonObject = { readonly [field: string]: unknown };

/** A refusal that names the place in the document, as in `layers[3].digest`. */
export function invalidManifest(place: string, reason: string): OciError {
  return new OciError("MANIFEST_INVALID", `manifest invalid: ${place} ${reason}`, { detail: { field: place, reason } });
}

/** @throws OciError MANIFEST_INVALID */
export function parseDescriptor(value: unknown, place: string): Descriptor {
  const fields = requireObject(value, place);
  const digest = typeof fields.digest === "string" ? tryParseDigest(fields.digest) : undefined;
  if (digest === undefined) throw invalidManifest(`${place}.digest`, "must be a sha256 or sha512 digest");
  const { size } = fields;
  if (!Number.isSafeInteger(size) || (size as number) < 0) {
    throw invalidManifest(`${place}.size`, "must be a whole number of bytes");
  }
  const mediaType = parseMediaType(fields.mediaType, `${place}.mediaType`);
  if (mediaType === undefined) throw invalidManifest(`${place}.mediaType`, "is missing");
  const urls = parseUrls(fields.urls, `${place}.urls`);
  const artifactType = parseMediaType(fields.artifactType, `${place}.artifactType`);
  const annotations = parseAnnotations(fields.annotations, `${place}.annotations`);
  return {
    mediaType,
    digest,
    size: size as number,
    ...(urls !== undefined && { urls }),
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
    ...(isPresent(fields.platform) && { platform: fields.platform }),
  };
}

/** Undefined when absent or empty. @throws OciError MANIFEST_INVALID when it is no media type. */
export function parseMediaType(value: unknown, place: string): string | undefined {
  if (!isPresent(value) || value === "") return undefined;
  if (typeof value !== "string" || !MEDIA_TYPE.test(value)) throw invalidManifest(place, "must be a media type");
  return value;
}

/** Undefined when absent. @throws OciError MANIFEST_INVALID when it is not an object of strings. */
export function parseAnnotations(value: unknown, place: string): Readonly<Record<string, string>> | undefined {
  if (!isPresent(value)) return undefined;
  for (const text of Object.values(requireObject(value, place))) {
    if (typeof text !== "string") throw invalidManifest(place, "must map strings to strings");
  }
  return value as Record<string, string>;
}

/** @throws OciError MANIFEST_INVALID */
export function requireObject(value: unknown, place: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidManifest(place, isPresent(value) ? "must be an object" : "is missing");
  }
  return value as JsonObject;
}

/** Go programs write null for what is not there. */
export function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function parseUrls(value: unknown, place: string): readonly string[] | undefined {
  if (!isPresent(value)) return undefined;
  if (Array.isArray(value) && value.every((url) => typeof url === "string")) return value;
  throw invalidManifest(place, "must be a list of strings");
}
