import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { digestOf, MANIFEST_TYPE } from "./oci-client.ts";

export const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";

/** One platform's image of a layout. */
export interface LayoutImage {
  readonly architecture: string;
  readonly digest: string;
  /** Digests of the layers as they are stored. */
  readonly layers: readonly string[];
  /** Digest of the config: the image's ID. */
  readonly config: string;
}

/** What {@link writeMultiArchLayout} made. */
export interface MultiArchLayout {
  /** Digest of the index that the tag names. */
  readonly digest: string;
  readonly images: readonly LayoutImage[];
}

/** How {@link writeMultiArchLayout} makes a layer of one file: the tar, and the bytes that are stored of it. */
export interface LayerForm {
  readonly mediaType: string;
  pack(name: string, content: Buffer): { readonly tar: Buffer; readonly bytes: Buffer };
}

const GZIP = compressed("gzip", gzipSync);
/** RFC 8878, as image-spec 1.1 names it. */
export const ZSTD = compressed("zstd", zstdCompressSync);

function compressed(suffix: string, compress: (tar: Buffer) => Buffer): LayerForm {
  return {
    mediaType: `application/vnd.oci.image.layer.v1.tar+${suffix}`,
    pack(name, content) {
      const tar = tarOf(name, content);
      return { tar, bytes: compress(tar) };
    },
  };
}

/**
 * Writes an OCI image layout (image-spec, image-layout.md) whose tag names an index of one image per architecture, each
 * with a layer of one random file, gzipped unless `form` says otherwise.
 */
export function writeMultiArchLayout(
  dir: string,
  tag: string,
  architectures: readonly string[],
  form = GZIP,
): MultiArchLayout {
  mkdirSync(join(dir, "blobs", "sha256"), { recursive: true });
  const put = (mediaType: string, bytes: Buffer) => {
    const digest = digestOf(bytes);
    writeFileSync(join(dir, "blobs", "sha256", digest.slice("sha256:".length)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const putJson = (mediaType: string, value: object) => put(mediaType, Buffer.from(JSON.stringify(value)));
  const images: LayoutImage[] = [];
  const manifests = architectures.map((architecture) => {
    const { tar, bytes } = form.pack(`arch-${architecture}`, randomBytes(30_000));
    const layer = put(form.mediaType, bytes);
    const config = putJson("application/vnd.oci.image.config.v1+json", {
      architecture,
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
      history: [{ created_by: "a test" }],
    });
    const manifest = { schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers: [layer] };
    const descriptor = putJson(MANIFEST_TYPE, manifest);
    images.push({ architecture, digest: descriptor.digest, layers: [layer.digest], config: config.digest });
    return { ...descriptor, platform: { architecture, os: "linux" } };
  });
  const index = putJson(INDEX_TYPE, { schemaVersion: 2, mediaType: INDEX_TYPE, manifests });
  const annotations = { "org.opencontainers.image.ref.name": tag };
  writeFileSync(join(dir, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  writeFileSync(
    join(dir, "index.json"),
    JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [{ ...index, annotations }] }),
  );
  return { digest: index.digest, images };
}

/** A ustar archive (POSIX.1-1988) of one file. */
export function tarOf(name: string, content: Buffer): Buffer {
  return Buffer.concat([tarHeader(name, content.length), content, tarPadding(content.length), Buffer.alloc(1024)]);
}

/** The block before a file of that many bytes. */
export function tarHeader(name: string, size: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

/** What fills a file of that many bytes up to a whole block. */
export function tarPadding(size: number): Buffer {
  return Buffer.alloc((512 - (size % 512)) % 512);
}
