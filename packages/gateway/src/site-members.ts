import type { Topology } from "@meridian/cluster";
import type { Membership } from "@meridian/policy";

/** A site that is a member, or was one. */
export interface SiteMember {
  readonly site: string;
  readonly membership: Membership;
  /** The policy revision that made it so; absent where no policy log names members. */
  readonly revision?: string;
  /** How far the others had copied its log when it ceased to be a member. */
  readonly copied?: { readonly incarnation: string; readonly sequence: number };
}

/** Who is a member of the cluster, and what this site serves because of how it stands itself. */
export interface SiteMembers {
  /** The site that keeps the policy log; undefined where there is none. */
  readonly policyHome: string | undefined;
  /** Every site that is a member, or was one. */
  all(): readonly SiteMember[];
  isDraining(site: string): boolean;
  /** Why nothing of any repository is served here now; undefined: it is. Read at every request. */
  readonly refusal: string | undefined;
  /** Why uploads that began here are not taken to their end; undefined: they are. */
  readonly closed: string | undefined;
}

/** Of a cluster whose members never change. */
export function fixedMembers({ sites }: Pick<Topology, "sites">): SiteMembers {
  return {
    policyHome: undefined,
    all: () => sites.map((site) => ({ site, membership: "active" })),
    isDraining: () => false,
    refusal: undefined,
    closed: undefined,
  };
}
