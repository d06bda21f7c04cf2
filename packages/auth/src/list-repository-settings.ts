import { describeSettings } from "@meridian/policy";
import type { authV1 } from "@meridian/wire";
import { type AdministrationParts, requireAdministrator } from "./administrator.ts";

/** Lists what is set for repositories, in order of prefix. */
export async function listRepositorySettings(
  request: authV1.ListRepositorySettingsRequest,
  parts: AdministrationParts,
): Promise<{ settings: { prefix: string; values: Record<string, string> }[]; revision: string }> {
  requireAdministrator(request.token, parts);
  const { state } = parts.policy;
  const settings = state.repositories
    .entries()
    .map((entry) => ({ prefix: entry.prefix, values: describeSettings(entry) }));
  return { settings, revision: state.revision };
}
