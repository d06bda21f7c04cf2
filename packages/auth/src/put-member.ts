import { create } from "@bufbuild/protobuf";
import { isSiteName } from "@meridian/cluster";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import {
  type Membership,
  memberKey,
  membershipOf,
  membershipToWire,
  type PolicyDoc,
  type PolicyState,
} from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import type { Clock } from "@meridian/runtime";
import { type authV1, policyV1 } from "@meridian/wire";
import { type AdministrationParts, change, requireAdministrator } from "./administrator.ts";

const STATES: ReadonlySet<string> = new Set<Membership>(["active", "draining", "removed", "expelled"]);
const MAX_PROCESSES = 64;

/**
 * Makes a site a member, drains it, or ends its membership. Answers when that is effective; at once when it is so already.
 * @throws ContentError `invalid`, `not-found`, `precondition` when it may not be, and as {@link change} does.
 */
export async function putMember(
  request: authV1.PutMemberRequest,
  context: CallContext,
  parts: AdministrationParts & { readonly clock: Clock },
): Promise<{ revision: string }> {
  const who = requireAdministrator(request.token, parts);
  const { site, acceptLoss } = request;
  // The change itself may be in the log, and wait for the other member: this one lets it go on.
  const opId = request.opId !== "" && acceptLoss ? `${request.opId} accept-loss` : request.opId;
  const { state } = parts.policy;
  const wanted = stateOf(request);
  const held = state.sites.get(site);
  const current = held && membershipOf(held);
  requireStep(site, current, wanted, state);
  const member = memberOf(request, held, parts.clock);
  if (held !== undefined && isSame(held, member, request)) return { revision: state.revision };
  const doc: PolicyDoc = { case: "member", value: member };
  const baseRev = state.revisionOf(memberKey(site));
  const proposal = { key: memberKey(site), doc, baseRev, who, ...(opId === "" ? {} : { opId }) };
  return change(`the membership of ${site}`, proposal, parts, context);
}

function stateOf({ site, state, processes }: authV1.PutMemberRequest): Membership {
  if (!isSiteName(site))
    throw new ContentError(
      ContentErrorKind.invalid,
      `"${site.slice(0, 40)}" is no name for a site: 1 to 32 lower-case letters, digits and inner hyphens`,
    );
  if (!STATES.has(state))
    throw new ContentError(ContentErrorKind.invalid, `a member is one of ${[...STATES].join(", ")}`);
  if (processes.length > MAX_PROCESSES)
    throw new ContentError(ContentErrorKind.invalid, `a site has at most ${MAX_PROCESSES} processes`);
  return state as Membership;
}

function requireStep(site: string, current: Membership | undefined, wanted: Membership, state: PolicyState): void {
  if (wanted === "active") return;
  if (current === undefined)
    throw new ContentError(
      ContentErrorKind.notFound,
      `there is no site ${site}; members are ${[...state.members].join(", ")}`,
    );
  const hasLeft = current === "removed" || current === "expelled";
  if (hasLeft && (wanted === "draining" || (current === "expelled" && wanted === "removed")))
    throw new ContentError(ContentErrorKind.precondition, `${site} is no member any more: it was ${current}`);
  if (
    wanted === "draining" &&
    ![...state.sites.values()].some((one) => one.site !== site && membershipOf(one) === "active")
  )
    throw new ContentError(
      ContentErrorKind.precondition,
      `${site} cannot be drained: no other site takes what it holds. Add one first`,
    );
  const homes = state.repositories.entries().filter(({ tags }) => tags?.home === site);
  if (homes.length > 0 && (wanted === "draining" || wanted === "removed"))
    throw new ContentError(
      ContentErrorKind.precondition,
      `${site} is the home of the tags of ${homes.map(({ prefix }) => prefix || "every repository").join(", ")}: move it first, with \`meridian repo set … tags=home:<site>\``,
    );
}

/** Logs from before it ceased to be a member stay refused for ever, also once it is one again. */
function memberOf(request: authV1.PutMemberRequest, held: policyV1.Member | undefined, clock: Clock): policyV1.Member {
  const { site, processes, copied = held?.copied, acceptLoss, closed } = request;
  const state = stateOf(request);
  const ends = state === "removed" || state === "expelled";
  const before = held?.refusedUntil ?? 0n;
  const now = BigInt(Math.floor(clock.now())) << 16n;
  const known = copied?.created ?? 0n;
  return create(policyV1.MemberSchema, {
    site,
    state: membershipToWire(state),
    processes: processes.length > 0 ? processes : (held?.processes ?? []),
    refusedUntil: ends ? [before, now, known].reduce((a, b) => (a > b ? a : b)) : before,
    ...(copied === undefined ? {} : { copied }),
    acceptLoss,
    closed: state === "draining" && closed,
  });
}

function isSame(held: policyV1.Member, member: policyV1.Member, { processes }: authV1.PutMemberRequest): boolean {
  return membershipOf(held) === membershipOf(member) && held.closed === member.closed && processes.length === 0;
}
