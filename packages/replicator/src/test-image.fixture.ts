import { type Change, manifestValueOf } from "@meridian/catalog";
import { type Digest, isContentError, parseManifest } from "@meridian/oci";
import type { TestSite } from "./test-cluster.fixture.ts";

export const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar";

export interface Image {
  readonly manifest: { readonly digest: Digest; readonly size: number };
  readonly config: { readonly digest: Digest; readonly size: number };
  /** As listed. */
  readonly layers: readonly { readonly digest: Digest; readonly size: number }[];
  readonly bytes: Uint8Array;
}

/** Puts an image's bytes on a site's blob node, told to nobody. */
export function imageAt(site: TestSite, name: string, layerSizes: readonly number[]): Image {
  const config = site.store(`{"config":"${name}"}`);
  const layers = layerSizes.map((size, index) => site.store(`${name} ${index} ${"x".repeat(size)}`));
  const document = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: CONFIG, ...config },
    layers: layers.map((layer) => ({ mediaType: LAYER, ...layer })),
  };
  const bytes = Buffer.from(JSON.stringify(document));
  return { manifest: site.store(bytes), config, layers, bytes };
}

export const blobsOf = ({ manifest, config, layers }: Image) => [...layers, config, manifest];

/** What a push writes, but for where the bytes are. */
export function namesOf(image: Image, repository: string): Change[] {
  const { manifest } = image;
  return [
    ...blobsOf(image).map((blob): Change => ({ kind: "link", repository, ...blob })),
    {
      kind: "manifest",
      repository,
      digest: manifest.digest,
      value: manifestValueOf(parseManifest(image.bytes, MANIFEST), image.bytes.byteLength),
    },
    { kind: "tag", repository, tag: "latest", ...manifest, mediaType: MANIFEST, who: "test" },
  ];
}

export const heldAt = (image: Image, node: string): Change[] =>
  blobsOf(image).map((blob): Change => ({ kind: "blob-at-node", ...blob, node, state: "present" }));

/** Writes the changes; again while the disk of a busy machine is slower than the catalog waits: a retry is safe. */
export async function commit(site: TestSite, changes: readonly Change[]): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await site.catalog.commit(changes);
      return;
    } catch (error) {
      if (attempt === 10 || !isContentError(error, "unavailable")) throw error;
    }
  }
}

export async function push(site: TestSite, repository: string, image: Image): Promise<void> {
  await commit(site, [...heldAt(image, site.node), ...namesOf(image, repository)]);
}

export const hasAll = (site: TestSite, image: Image): boolean =>
  blobsOf(image).every(({ digest }) => site.blobs.has(digest));
