import type { CatalogReader } from "@meridian/catalog";
import { nodeName, type Peers, parseNodeName, type Topology } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { Clock, Logger } from "@meridian/runtime";
import { blobV1, siteV1 } from "@meridian/wire";

/** How much of one image this site holds. */
export interface ImageState {
  readonly state: siteV1.ImageState;
  readonly blobsPresent: number;
  readonly blobsTotal: number;
  readonly bytes: number;
  readonly bytesTotal: number;
  /** Milliseconds until complete, by the speed seen so far; absent when unknown. */
  readonly etaMs?: number;
}

/** Looks at this site's view and asks its blob nodes. */
export interface ImageStates {
  /** `tag` empty: by digest. With a tag, "absent" while the tag names something else. */
  look(repository: string, digest: Digest, tag: string): Promise<ImageState>;
}

const { ABSENT, METADATA, BLOBS, COMPLETE } = siteV1.ImageState;

/** How long a node's word that it has a blob, with the right bytes, is good. Milliseconds. */
const CONFIRMED_MS = 5_000;
const MAX_CONFIRMED = 100_000;
const MAX_PROGRESS = 1_000;
const STAT_TIMEOUT_MS = 3_000;

export function createImageStates(options: {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly catalog: CatalogReader;
  readonly clock: Clock;
  readonly log: Logger;
}): ImageStates {
  const { catalog, clock } = options;
  const confirmed = new Confirmed(options);
  const progress = new Map<string, { readonly at: number; readonly bytes: number }>();

  const etaOf = (key: string, bytes: number, bytesTotal: number): number | undefined => {
    const first = progress.get(key);
    if (first === undefined) {
      if (progress.size >= MAX_PROGRESS) progress.clear();
      progress.set(key, { at: clock.monotonic(), bytes });
      return undefined;
    }
    const gained = bytes - first.bytes;
    const elapsed = clock.monotonic() - first.at;
    return gained > 0 && elapsed > 0 ? Math.round(((bytesTotal - bytes) / gained) * elapsed) : undefined;
  };

  return {
    async look(repository, digest, tag) {
      const named = tag === "" ? digest : catalog.tag(repository, tag)?.digest;
      if (named !== digest || catalog.manifest(repository, digest) === undefined) return absent();
      const { blobs, complete } = catalog.contents(repository, digest);
      const present = await Promise.all(blobs.map((blob) => confirmed.isHere(blob.digest)));
      const here = blobs.filter((_, index) => present[index]);
      const bytes = sizeOf(here);
      const bytesTotal = sizeOf(blobs);
      const state = here.length === 0 ? METADATA : complete && here.length === blobs.length ? COMPLETE : BLOBS;
      const key = `${repository} ${digest}`;
      if (state === COMPLETE) progress.delete(key);
      const etaMs = state === COMPLETE ? 0 : etaOf(key, bytes, bytesTotal);
      return { state, blobsPresent: here.length, blobsTotal: blobs.length, bytes, bytesTotal, etaMs };
    },
  };
}

function absent(): ImageState {
  return { state: ABSENT, blobsPresent: 0, blobsTotal: 0, bytes: 0, bytesTotal: 0 };
}

function sizeOf(blobs: readonly { readonly size: number }[]): number {
  return blobs.reduce((sum, { size }) => sum + size, 0);
}

/** Which blobs this site's nodes said a moment ago that they have, with bytes that hash to their names. */
class Confirmed {
  readonly #options: Parameters<typeof createImageStates>[0];
  readonly #until = new Map<Digest, number>();

  constructor(options: Parameters<typeof createImageStates>[0]) {
    this.#options = options;
  }

  async isHere(digest: Digest): Promise<boolean> {
    const now = this.#options.clock.monotonic();
    if ((this.#until.get(digest) ?? 0) > now) return true;
    const { catalog, topology } = this.#options;
    for (const node of catalog.holders(digest)) {
      if (parseNodeName(node)?.site !== topology.site || !(await this.#stat(node, digest))) continue;
      if (this.#until.size >= MAX_CONFIRMED) this.#until.clear();
      this.#until.set(digest, now + CONFIRMED_MS);
      return true;
    }
    return false;
  }

  async #stat(node: string, digest: Digest): Promise<boolean> {
    const { peers, topology, log } = this.#options;
    const address = topology.processes.find((listed) => nodeName(listed) === node);
    if (address === undefined) return false;
    try {
      const { present } = await peers
        .client(blobV1.BlobNodeService, address)
        .stat({ digest, verified: true }, { timeoutMs: STAT_TIMEOUT_MS });
      return present;
    } catch (error) {
      log.debug("a blob node did not say whether it has a blob", { node, digest, error });
      return false;
    }
  }
}
