import { type Catalog, manifestValueOf } from "@meridian/catalog";
import { type Digest, isOciError, parseManifest } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import { referencesUnknown } from "./visible-blobs.ts";

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;

export interface ReferenceReaderOptions {
  readonly catalog: Catalog;
  /** Whole content of a manifest that a node of this site holds. */
  readonly readBlob: (digest: Digest, options: { signal: AbortSignal }) => Promise<Uint8Array>;
  /** Called when a manifest's references became known. */
  readonly learned: (repository: string, digest: Digest) => void;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Reads manifests whose records do not say what they reference (too long, or not arrived), once their bytes are here. */
export class ReferenceReader implements AsyncDisposable {
  readonly #options: ReferenceReaderOptions;
  readonly #reading = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();

  constructor(options: ReferenceReaderOptions) {
    this.#options = options;
  }

  /** A node of this site holds the manifest: reads it if its references are unknown, until that worked. */
  arrived(repository: string, digest: Digest): void {
    const key = `${repository} ${digest}`;
    const { catalog } = this.#options;
    if (this.#reading.has(key) || this.#stop.signal.aborted || !referencesUnknown(catalog, repository, digest)) return;
    this.#reading.set(
      key,
      this.#read(repository, digest).finally(() => this.#reading.delete(key)),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#reading.values());
  }

  /** Never rejects. */
  async #read(repository: string, digest: Digest): Promise<void> {
    const { catalog, readBlob, learned, timers, log } = this.#options;
    const { signal } = this.#stop;
    for (let waitMs = RETRY_FIRST_MS; !signal.aborted; waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
      try {
        const view = catalog.manifest(repository, digest);
        if (view === undefined || !referencesUnknown(catalog, repository, digest)) return;
        const bytes = await readBlob(digest, { signal });
        const value = manifestValueOf(parseManifest(bytes, view.mediaType), bytes.byteLength);
        await catalog.learnManifest(repository, digest, value);
        learned(repository, digest);
        return;
      } catch (error) {
        if (signal.aborted) return;
        log.warn("the references of a manifest could not be read", { error });
        // What is no manifest will not become one.
        if (isOciError(error)) return;
        await timers.sleep(waitMs, { signal }).catch(() => {});
      }
    }
  }
}
