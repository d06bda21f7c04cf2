import type { Digest } from "@meridian/oci";

/** What a blob is to the manifests that name it: fetched in this order. */
export const BlobRank = { manifest: 0, config: 1, layer: 2 } as const;
export type BlobRank = (typeof BlobRank)[keyof typeof BlobRank];

/** Why a blob is wanted: fetched in this order. `pulled`: a client pulled its image; `named`: it was just pushed or tagged. */
export const Urgency = { pulled: 0, named: 1, backlog: 2 } as const;
export type Urgency = (typeof Urgency)[keyof typeof Urgency];

/** A blob that is visible here while no node of this site is known to hold it. */
export interface WantedBlob {
  readonly digest: Digest;
  /** Bytes; 0 while unknown. */
  size: number;
  rank: BlobRank;
  urgency: Urgency;
  /** When it was first wanted, on the monotonic clock. */
  readonly since: number;
  /** The site that it most likely comes from; absent while nobody is known to hold it. */
  source?: string;
  /** The sampled trace of the push that made it visible, when that is known. */
  traceparent?: string;
  /** Where it is visible. */
  readonly repositories: Set<string>;
  /**
   * `ready`: may be fetched; `fetching`; `landed`: here, its record is on its way; `homeless`: nobody is known to hold
   * it; `resting`: waits after a failure, or for a link's window; `poisoned`: every holder has wrong bytes.
   */
  state: "ready" | "fetching" | "landed" | "homeless" | "resting" | "poisoned";
  failures: number;
  /** When it is ready again, on the monotonic clock; only while resting or poisoned. */
  readyAt: number;
}
