import assert from "node:assert/strict";
import { type ContentErrorKind, type Digest, digestOf, isContentError } from "@meridian/oci";
import type { BlobStore, ByteSpan, OpenBlob, Upload } from "./blob-store.ts";

/** Bytes that differ at every place, the same for the same seed. */
export function pattern(size: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  let state = seed;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Stores content by way of an upload; its digest is sha256 unless given. */
export async function put(
  store: BlobStore,
  id: string,
  content: Uint8Array,
  digest = digestOf(content),
): Promise<Digest> {
  await using upload = await store.begin(id, { algorithm: digest.startsWith("sha512") ? "sha512" : "sha256" });
  await upload.write(content);
  await upload.commit(digest);
  return digest;
}

/** Everything of a span; of the whole blob when there is none. */
export async function collect(source: OpenBlob | Upload, span?: ByteSpan): Promise<Buffer> {
  const parts: Buffer[] = [];
  const all = { start: 0, end: "size" in source ? source.size : source.offset };
  await source.read(span ?? all, { write: (chunk) => void parts.push(Buffer.from(chunk)) });
  return Buffer.concat(parts);
}

/** Asserts that it is refused with a ContentError of that kind. */
export async function rejects(promise: Promise<unknown>, kind: ContentErrorKind): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isContentError(error, kind), `${kind} wanted, got ${String(error)}`);
    return true;
  });
}
