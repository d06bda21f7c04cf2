import { create } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { userKey } from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import { type authV1, policyV1 } from "@meridian/wire";
import { type AdministrationParts, change, requireAdministrator, requireOtherAdministrator } from "./administrator.ts";

/** Removes a user with all its grants. Answers when it is effective. */
export async function removeUser(
  request: authV1.RemoveUserRequest,
  context: CallContext,
  parts: AdministrationParts,
): Promise<{ revision: string }> {
  const who = requireAdministrator(request.token, parts);
  const { name } = request;
  const { state } = parts.policy;
  if (!state.users.has(name)) throw new ContentError(ContentErrorKind.notFound, `there is no user "${name}"`);
  requireOtherAdministrator(name, state);
  const key = userKey(name);
  const doc = { case: "removed", value: create(policyV1.RemovedSchema) } as const;
  return change(`user ${name}`, { key, doc, baseRev: state.revisionOf(key), who }, parts, context);
}
