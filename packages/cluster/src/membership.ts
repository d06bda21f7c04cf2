/** How the sites stand to the cluster, as a process knows it; who is a member stands in the topology. */
export interface Membership {
  /** True for a member whose bytes and records go to the others. */
  isDraining(site: string): boolean;
  /** True for a site that was a member and is none any more. */
  hasLeft(site: string): boolean;
  /** Logs of the site that were created up to this reading are refused; 0n: none is. */
  refusedUntil(site: string): bigint;
  /** Calls `listener` after any of it, or the list of members, changed, until disposed. */
  subscribe(listener: () => void): Disposable;
}

/** Of a cluster whose members never change. */
export const FIXED_MEMBERSHIP: Membership = {
  isDraining: () => false,
  hasLeft: () => false,
  refusedUntil: () => 0n,
  subscribe: () => ({ [Symbol.dispose]: () => {} }),
};
