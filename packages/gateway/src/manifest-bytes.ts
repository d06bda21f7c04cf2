import { isAscii } from "node:buffer";
import { ContentError, type Digest, digestAlgorithm, digestOf } from "@meridian/oci";
import type { BlobSources, VisibleBlob } from "./blob-sources.ts";

/** A manifest's bytes in memory, hash checked. */
export interface CachedManifest {
  readonly digest: Digest;
  readonly bytes: Buffer;
  /** What goes on the wire: a string where the bytes are ASCII, because node:http sends it together with the headers. */
  readonly body: string | Buffer;
  /** Headers made for earlier answers, by how the manifest was named. The routes own them. */
  readonly headers: Map<string, CachedHeaders>;
}

/** Headers of an answer, good while the version and media type are the same. */
export interface CachedHeaders {
  readonly version: string;
  readonly mediaType: string;
  readonly list: readonly string[];
}

/** A manifest just read, and where from. */
export interface LoadedManifest {
  readonly manifest: CachedManifest;
  /** site/node whose disk the bytes came from. */
  readonly servedBy: string;
  readonly route: "local" | "stream";
}

/** Manifest bytes by digest: from memory, or read from a blob node. */
export interface ManifestBytes {
  /** Undefined when it is not in memory. */
  cached(digest: Digest): CachedManifest | undefined;
  /**
   * Reads it from the nearest holder, from another where its bytes are wrong; concurrent calls share one read.
   * @throws ContentError `unavailable`, `invalid` when it is larger than a manifest may be.
   */
  load(repository: string, manifest: VisibleBlob): Promise<LoadedManifest>;
  /** Remembers bytes that were just stored. */
  keep(digest: Digest, bytes: Uint8Array): CachedManifest;
}

/** Entries cost more than their bytes: headers, maps. */
const ENTRY_OVERHEAD = 2_048;

/** `maxBytes` bounds the memory; the least recently used half goes first. */
export function createManifestBytes(options: {
  readonly sources: BlobSources;
  readonly maxBytes: number;
  readonly maxManifestBytes: number;
}): ManifestBytes {
  const cache = new TwoGenerations(options.maxBytes);
  const underWay = new Map<Digest, Promise<LoadedManifest>>();
  const keep = (digest: Digest, bytes: Uint8Array): CachedManifest => {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const entry = {
      digest,
      bytes: buffer,
      body: isAscii(buffer) ? buffer.toString("latin1") : buffer,
      headers: new Map(),
    };
    cache.put(entry);
    return entry;
  };
  return {
    cached: (digest) => cache.get(digest),
    keep,
    load(repository, manifest) {
      const { digest } = manifest;
      const running = underWay.get(digest);
      if (running !== undefined) return running;
      const loading = readRight(repository, manifest, options)
        .then(({ bytes, servedBy, route }) => ({ manifest: keep(digest, bytes), servedBy, route }))
        .finally(() => underWay.delete(digest));
      underWay.set(digest, loading);
      return loading;
    },
  };
}

/** Holders that are tried when one after the other has wrong bytes. */
const MAX_WRONG = 3;

async function readRight(
  repository: string,
  manifest: VisibleBlob,
  options: { sources: BlobSources; maxManifestBytes: number },
): ReturnType<typeof read> {
  for (let wrong = 0; wrong < MAX_WRONG; wrong++) {
    const found = await read(repository, manifest, options);
    if (digestOf(found.bytes, digestAlgorithm(manifest.digest)) === manifest.digest) return found;
    options.sources.distrust(found.servedBy, manifest.digest);
  }
  throw new ContentError("unavailable", `no right copy of ${manifest.digest} could be found`);
}

async function read(
  repository: string,
  manifest: VisibleBlob,
  { sources, maxManifestBytes }: { sources: BlobSources; maxManifestBytes: number },
): Promise<{ bytes: Buffer; servedBy: string; route: "local" | "stream" }> {
  // Shared by everyone who asks meanwhile: no single client's leaving ends it.
  const { signal } = new AbortController();
  await using blob = await sources.open(repository, manifest, { start: 0 }, signal);
  if (blob.size > maxManifestBytes) throw new ContentError("invalid", `a manifest of ${blob.size} bytes is too large`);
  const bytes = Buffer.allocUnsafeSlow(blob.size);
  let length = 0;
  const sink = {
    write(chunk: Uint8Array): void {
      bytes.set(chunk, length);
      length += chunk.byteLength;
    },
  };
  if (blob.bytes !== undefined) sink.write(blob.bytes);
  else await blob.send({ start: 0, end: blob.size }, sink, signal);
  return { bytes, servedBy: blob.servedBy, route: blob.route };
}

/** Two maps in turn: an entry used while in the older one moves to the newer; a full newer one becomes the older. A hit in the newer one writes nothing. */
class TwoGenerations {
  readonly #half: number;
  #young = new Map<Digest, CachedManifest>();
  #old = new Map<Digest, CachedManifest>();
  #youngBytes = 0;

  constructor(maxBytes: number) {
    this.#half = maxBytes / 2;
  }

  get(digest: Digest): CachedManifest | undefined {
    const hit = this.#young.get(digest);
    if (hit !== undefined) return hit;
    const older = this.#old.get(digest);
    if (older !== undefined) this.put(older);
    return older;
  }

  put(entry: CachedManifest): void {
    const cost = entry.bytes.byteLength * 2 + ENTRY_OVERHEAD;
    if (cost > this.#half || this.#young.has(entry.digest)) return;
    if (this.#youngBytes + cost > this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngBytes = 0;
    }
    this.#young.set(entry.digest, entry);
    this.#youngBytes += cost;
  }
}
