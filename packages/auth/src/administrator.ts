import { ContentError, ContentErrorKind } from "@meridian/oci";
import {
  formatRevision,
  type Policy,
  type PolicyChange,
  type PolicyState,
  type SyncTokenVerifier,
} from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import type { Logger } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import { policyChanged } from "./telemetry.ts";

/** What the administration of identities needs. */
export interface AdministrationParts {
  readonly policy: Policy;
  readonly verifier: SyncTokenVerifier;
  readonly log: Logger;
}

/**
 * Who asks for a change.
 * @throws ContentError `denied` when the token is not valid, or its owner is no administrator.
 */
export function requireAdministrator(token: string, { policy, verifier }: AdministrationParts): string {
  // Without a token it is the anonymous principal: it is one only in a development cluster that says so.
  const principal = token === "" ? { name: undefined } : verifier.verify(token)?.principal;
  if (!principal) throw new ContentError(ContentErrorKind.denied, "the access token is not valid: log in again");
  const { allow, policyId, revision } = policy.decider.decide(
    principal,
    "admin",
    { kind: "registry" },
    { site: policy.site },
  );
  const who = principal.name ?? "anonymous";
  if (!allow)
    throw new ContentError(ContentErrorKind.denied, `${who} is no administrator (${policyId}, policy ${revision})`);
  return who;
}

/**
 * Makes one change. Resolves with the revision once it is effective.
 * @throws ContentError `conflict` when another change of the key was first, `unavailable` when the policy home or its
 * majority is away.
 */
export async function change(
  what: string,
  proposal: PolicyChange,
  { policy, log }: AdministrationParts,
  { signal }: CallContext,
): Promise<{ revision: string }> {
  const outcome = await policy.propose(proposal, { signal });
  if (outcome.superseded)
    throw new ContentError(
      ContentErrorKind.conflict,
      `${what} was changed by somebody else at the same time, nothing was changed now: look at it and try again`,
    );
  const revision = formatRevision(outcome.revision);
  policyChanged(log, { who: proposal.who, key: proposal.key, revision });
  return { revision };
}

/** @throws ContentError `precondition` when nobody but `user` administers the whole cluster. */
export function requireOtherAdministrator(user: string, state: PolicyState): void {
  const isOther = ([name, { disabled }]: [string, policyV1.User]): boolean =>
    name !== user && !disabled && administers(name, state);
  if (administers(user, state) && ![...state.users].some(isOther))
    throw new ContentError(
      ContentErrorKind.precondition,
      `${user} is the only administrator: make somebody else one first`,
    );
}

function administers(name: string, state: PolicyState): boolean {
  const grants = state.grants.get(name) ?? [];
  return grants.some((grant) => grant.role === policyV1.Role.ADMIN && grant.repositoryPrefix === "");
}
