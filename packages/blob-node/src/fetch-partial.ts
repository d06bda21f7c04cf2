import { ContentError, type Digest, digestAlgorithm, digestBytes } from "@meridian/oci";
import type { BlobStore, Upload } from "@meridian/storage";

/** Uploads of the store whose id begins so are partial fetches, not clients'. */
export const FETCH_PREFIX = "fetch-";

/** One id per digest, so that a fetch finds what an earlier one, or an earlier process, left. */
export function fetchIdOf(digest: Digest): string {
  return FETCH_PREFIX + Buffer.from(digestBytes(digest)).toString("base64url");
}

/** Opens what is there of a blob, or begins it. */
export async function openPartial(store: BlobStore, digest: Digest): Promise<Upload> {
  const id = fetchIdOf(digest);
  const algorithm = digestAlgorithm(digest);
  const partial = (await store.resume(id, { algorithm })) ?? (await store.begin(id, { algorithm }));
  if (partial === undefined) throw new ContentError("unavailable", "the store opened no partial");
  return partial;
}
