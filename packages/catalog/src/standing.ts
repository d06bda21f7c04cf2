import type { OrderedReader, OrderedTransaction } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import { standingKey } from "./view-layout.ts";

/** Why a digest is visible in a repository. */
export interface Standing {
  /** Its link's put lives. */
  link: boolean;
  /** Its manifest's put lives. */
  manifest: boolean;
  /** How many live tags name it. */
  tags: number;
  /** How many visible indexes have it as a child. */
  children: number;
  /** How many visible manifests have it as config or layer. */
  blobs: number;
}

/** A manifest is visible by its own live put, by a live tag, or as the child of a visible index. */
export function isVisible({ manifest, tags, children }: Standing): boolean {
  return manifest || tags > 0 || children > 0;
}

/** Bytes are linked by a live link, as a visible manifest, or because a visible manifest references them. */
export function isLinked(standing: Standing): boolean {
  return standing.link || standing.blobs > 0 || isVisible(standing);
}

/** What the view says of the digest; nothing of it holds when there is no row. */
export function readStanding(reader: OrderedReader, repository: string, digest: Digest): Standing {
  const row = reader.get(standingKey(repository, digest));
  return row === undefined ? { link: false, manifest: false, tags: 0, children: 0, blobs: 0 } : decodeStanding(row);
}

/** The standings that one transaction reads and changes: each is read once and written once. */
export class Standings {
  readonly #tx: OrderedTransaction;
  readonly #known = new Map<string, Standing>();

  constructor(tx: OrderedTransaction) {
    this.#tx = tx;
  }

  /** To be changed in place. */
  get(repository: string, digest: Digest): Standing {
    const key = standingKey(repository, digest);
    const known = this.#known.get(key);
    if (known !== undefined) {
      return known;
    }
    const standing = readStanding(this.#tx, repository, digest);
    this.#known.set(key, standing);
    return standing;
  }

  write(): void {
    for (const [key, standing] of this.#known) {
      if (isLinked(standing)) {
        this.#tx.put(key, encodeStanding(standing));
      } else {
        this.#tx.delete(key);
      }
    }
  }
}

const LINK = 1;
const MANIFEST = 2;

/** One byte of flags, then the three counts, 4 bytes each. */
function encodeStanding({ link, manifest, tags, children, blobs }: Standing): Uint8Array {
  const row = Buffer.allocUnsafe(13);
  row[0] = (link ? LINK : 0) | (manifest ? MANIFEST : 0);
  row.writeUInt32BE(tags, 1);
  row.writeUInt32BE(children, 5);
  row.writeUInt32BE(blobs, 9);
  return row;
}

function decodeStanding(row: Uint8Array): Standing {
  const bytes = new DataView(row.buffer, row.byteOffset, row.byteLength);
  const flags = bytes.getUint8(0);
  return {
    link: (flags & LINK) !== 0,
    manifest: (flags & MANIFEST) !== 0,
    tags: bytes.getUint32(1),
    children: bytes.getUint32(5),
    blobs: bytes.getUint32(9),
  };
}
