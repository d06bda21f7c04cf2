import type { Digest } from "@meridian/oci";
import type { CatalogEvent } from "./catalog.ts";

/** A put of a tag that took part in a conflict. */
export interface ConflictingPut {
  /** `<time>/<site>/<writer>`, as in the tag's history. */
  readonly id: string;
  readonly site: string;
  readonly digest: Digest;
}

/** Two puts of one tag of which neither writer had seen the other: the later wins. */
export interface TagConflict {
  readonly repository: string;
  readonly tag: string;
  readonly winner: ConflictingPut;
  readonly loser: ConflictingPut;
}

/** What one transaction changed; to be told once it is committed. */
export interface ViewChanges {
  readonly events: CatalogEvent[];
  /** Keys of the read cache. */
  readonly tags: Set<string>;
  readonly digests: Set<string>;
  readonly holders: Set<string>;
  readonly conflicts: TagConflict[];
  /** By digest: the trace that wrote its record. Only of sampled ones. */
  readonly traces: Map<string, string>;
}

export function noChanges(): ViewChanges {
  return { events: [], tags: new Set(), digests: new Set(), holders: new Set(), conflicts: [], traces: new Map() };
}
