import { create } from "@bufbuild/protobuf";
import { grantKey, memberKey, type Policy, type PolicyDoc, SETTINGS_KEY, userKey } from "@meridian/policy";
import { policyV1 } from "@meridian/wire";

/** The name of the first administrator. */
export const FIRST_ADMIN = "admin";

/** True when the cluster has its first administrator and members: nothing of the configuration's bootstrap counts any more. */
export function isBootstrapped(policy: Policy): boolean {
  return policy.state.settings !== undefined;
}

/**
 * Writes the first entries of the policy log: the administrator, its grant, the members, and last the settings, which
 * end it. Goes on where an earlier attempt stopped.
 * @throws ContentError `unavailable` when the majority is away.
 */
export async function bootstrap(
  policy: Policy,
  options: { adminPasswordHash: string; signal: AbortSignal },
): Promise<void> {
  const { adminPasswordHash, signal } = options;
  for (const { key, doc } of firstEntries(policy, adminPasswordHash)) {
    if (policy.state.revisionOf(key) > 0) continue;
    await policy.propose({ key, doc, baseRev: 0, who: "bootstrap" }, { signal });
  }
}

function firstEntries(policy: Policy, passwordHash: string): { key: string; doc: PolicyDoc }[] {
  const user = create(policyV1.UserSchema, { name: FIRST_ADMIN, passwordHash });
  const grant = create(policyV1.GrantSchema, { principal: FIRST_ADMIN, role: policyV1.Role.ADMIN });
  const members = policy.members.map((site) => ({
    key: memberKey(site),
    doc: { case: "member", value: create(policyV1.MemberSchema, { site }) } as const,
  }));
  return [
    { key: userKey(FIRST_ADMIN), doc: { case: "user", value: user } },
    { key: grantKey(FIRST_ADMIN, ""), doc: { case: "grant", value: grant } },
    ...members,
    { key: SETTINGS_KEY, doc: { case: "settings", value: create(policyV1.SettingsSchema) } },
  ];
}
