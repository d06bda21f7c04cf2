import { create } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { grantKey, type PolicyDoc } from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import { type authV1, policyV1 } from "@meridian/wire";
import { type AdministrationParts, change, requireAdministrator, requireOtherAdministrator } from "./administrator.ts";
import { requirePrefix } from "./repository-prefix.ts";

/** Everybody, with or without credentials. */
const EVERYBODY = "*";

/** The roles by the names that users give them. */
export const ROLES: Readonly<Record<string, policyV1.Role>> = {
  pull: policyV1.Role.PULL,
  push: policyV1.Role.PUSH,
  admin: policyV1.Role.ADMIN,
};

/** Gives a principal a role below a prefix, in the place of the one it has there; an empty role takes it away. */
export async function putGrant(
  request: authV1.PutGrantRequest,
  context: CallContext,
  parts: AdministrationParts,
): Promise<{ revision: string }> {
  const who = requireAdministrator(request.token, parts);
  const { principal, repositoryPrefix, role } = request;
  const { state } = parts.policy;
  requireGrant(request, parts);
  if (repositoryPrefix === "" && role !== "admin") requireOtherAdministrator(principal, state);
  const key = grantKey(principal, repositoryPrefix);
  const baseRev = state.revisionOf(key);
  const what = `the grant of ${principal} at "${repositoryPrefix}"`;
  return change(what, { key, doc: docOf(request), baseRev, who }, parts, context);
}

function requireGrant({ principal, repositoryPrefix, role }: authV1.PutGrantRequest, parts: AdministrationParts): void {
  const { state } = parts.policy;
  if (role !== "" && ROLES[role] === undefined)
    throw new ContentError(ContentErrorKind.invalid, `"${role}" is no role: pull, push and admin are`);
  requirePrefix(repositoryPrefix);
  if (principal === EVERYBODY && role === "admin")
    throw new ContentError(ContentErrorKind.invalid, "everybody cannot be an administrator");
  if (principal !== EVERYBODY && !state.users.has(principal))
    throw new ContentError(ContentErrorKind.notFound, `there is no user "${principal}"`);
  const isHeld = state.grants.get(principal)?.some((grant) => grant.repositoryPrefix === repositoryPrefix);
  if (role === "" && !isHeld)
    throw new ContentError(ContentErrorKind.notFound, `${principal} has no role at "${repositoryPrefix}"`);
}

function docOf({ principal, repositoryPrefix, role }: authV1.PutGrantRequest): PolicyDoc {
  if (role === "") return { case: "removed", value: create(policyV1.RemovedSchema) };
  const value = create(policyV1.GrantSchema, { principal, repositoryPrefix, role: ROLES[role]! });
  return { case: "grant", value };
}
