import { policyV1 } from "@meridian/wire";
import type { PolicyState } from "./state.ts";

/** How a site stands to the cluster. */
export type Membership = "active" | "draining" | "removed" | "expelled";

/** A site that is no member any more, as it was told. */
export interface Exclusion {
  readonly state: "removed" | "expelled";
  /** The revision that made it so, `<epoch>.<rev>`. */
  readonly revision: string;
}

const STATES: Readonly<Record<policyV1.MemberState, Membership>> = {
  [policyV1.MemberState.UNSPECIFIED]: "active",
  [policyV1.MemberState.ACTIVE]: "active",
  [policyV1.MemberState.DRAINING]: "draining",
  [policyV1.MemberState.REMOVED]: "removed",
  [policyV1.MemberState.EXPELLED]: "expelled",
};

const WIRE: Readonly<Record<Membership, policyV1.MemberState>> = {
  active: policyV1.MemberState.ACTIVE,
  draining: policyV1.MemberState.DRAINING,
  removed: policyV1.MemberState.REMOVED,
  expelled: policyV1.MemberState.EXPELLED,
};

/** A state of a later version counts as membership: whoever does not understand it must not leave anybody out. */
export function membershipOf(member: Pick<policyV1.Member, "state">): Membership {
  return STATES[member.state] ?? "active";
}

/** The reverse of {@link membershipOf}. */
export function membershipToWire(membership: Membership): policyV1.MemberState {
  return WIRE[membership];
}

/** True while the site counts: for majorities, in questions to all, in receipts. */
export function isMember(membership: Membership | undefined): boolean {
  return membership === "active" || membership === "draining";
}

/** Reads what the home said to a site that is no member any more. */
export function exclusionFromWire(exclusion: policyV1.Exclusion): Exclusion {
  const { epoch, seq = 0n } = exclusion.revision ?? {};
  const state = membershipOf(exclusion) === "expelled" ? "expelled" : "removed";
  return { state, revision: `${epoch?.number ?? 0n}.${seq}` };
}

/**
 * The members once an entry is effective; undefined when it changes nothing about who is one. Before the log's settings
 * name the members nothing does.
 */
export function membersAfter(state: PolicyState, { key, doc }: policyV1.Entry): readonly string[] | undefined {
  if (state.settings === undefined) return undefined;
  const site = doc.case === "member" ? doc.value.site : removedMember(key, doc.case);
  if (site === undefined) return undefined;
  const counts = doc.case === "member" && isMember(membershipOf(doc.value));
  if (counts === state.members.has(site)) return undefined;
  return counts ? [...state.members, site] : [...state.members].filter((member) => member !== site);
}

function removedMember(key: string, kind: string | undefined): string | undefined {
  return kind === "removed" && key.startsWith("member/") ? key.slice("member/".length) : undefined;
}
