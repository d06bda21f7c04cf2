import type { authV1, policyV1 } from "@meridian/wire";
import { type AdministrationParts, requireAdministrator } from "./administrator.ts";
import { ROLES } from "./put-grant.ts";

interface ListedUser {
  readonly name: string;
  readonly disabled: boolean;
  readonly grants: { repositoryPrefix: string; role: string }[];
}

/** Lists users by name with their grants, and "*" when everybody has some. Never a password's hash. */
export async function listUsers(
  request: authV1.ListUsersRequest,
  parts: AdministrationParts,
): Promise<{ users: ListedUser[]; revision: string }> {
  requireAdministrator(request.token, parts);
  const { state } = parts.policy;
  const names = new Set([...state.users.keys(), ...state.grants.keys()]);
  const users = [...names].toSorted().map((name) => ({
    name,
    disabled: state.users.get(name)?.disabled ?? false,
    grants: (state.grants.get(name) ?? []).map(listed),
  }));
  return { users, revision: state.revision };
}

function listed({ repositoryPrefix, role }: policyV1.Grant): { repositoryPrefix: string; role: string } {
  const name = Object.entries(ROLES).find(([, value]) => value === role)?.[0];
  return { repositoryPrefix, role: name ?? "" };
}
