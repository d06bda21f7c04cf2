import { ownersOf, type PlacedNode } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";

/** What is known when the copies of one blob are planned; nodes are those of this site, as site/node. */
export interface CopyState {
  readonly digest: Digest;
  /** How many nodes are to keep it. */
  readonly copies: number;
  /** Nodes that are not being drained. */
  readonly keepers: readonly PlacedNode[];
  /** Nodes that hold it, as far as is known. */
  readonly holders: readonly string[];
  /** Nodes that do not answer now. */
  readonly away: ReadonlySet<string>;
  /** Those of them that are given up: their copies count no more, until they are back. */
  readonly lost: ReadonlySet<string>;
}

/** What is to be done for one blob. */
export interface CopyPlan {
  /** Who is to keep it, first choice first. */
  readonly owners: readonly string[];
  /** Holders that are not given up: where a copy can come from. */
  readonly sources: readonly string[];
  /** Owners that are to get a copy, and can be given one now. */
  readonly missing: readonly string[];
  /** Copies to be removed: only once every owner has its own, and only where the node answers. */
  readonly surplus: readonly string[];
}

/**
 * Where the copies of a blob belong: its owners among the nodes that are neither drained nor lost. A node that is away
 * for a while keeps its part, so that a restart moves nothing.
 */
export function planCopies({ digest, copies, keepers, holders, away, lost }: CopyState): CopyPlan {
  const owners = ownersOf(
    digest,
    keepers.filter(({ node }) => !lost.has(node)),
    copies,
  );
  const sources = holders.filter((node) => !lost.has(node));
  const without = owners.filter((node) => !sources.includes(node));
  return {
    owners,
    sources,
    missing: without.filter((node) => !away.has(node)),
    surplus:
      without.length > 0 || owners.length === 0
        ? []
        : sources.filter((node) => !owners.includes(node) && !away.has(node)),
  };
}
