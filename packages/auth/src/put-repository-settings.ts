import { changedSettings, repositorySettingsKey } from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import type { authV1 } from "@meridian/wire";
import { type AdministrationParts, change, requireAdministrator } from "./administrator.ts";
import { requirePrefix } from "./repository-prefix.ts";

/** Changes what is set for the repositories at and below a prefix. Answers when it is effective. */
export async function putRepositorySettings(
  request: authV1.PutRepositorySettingsRequest,
  context: CallContext,
  parts: AdministrationParts,
): Promise<{ revision: string }> {
  const who = requireAdministrator(request.token, parts);
  const { prefix, values } = request;
  requirePrefix(prefix);
  const { state, members } = parts.policy;
  const key = repositorySettingsKey(prefix);
  const baseRev = state.revisionOf(key);
  const held = state.repositories.at(prefix);
  const doc = changedSettings({ prefix, held, values, members });
  // To take away what is not there changes nothing.
  if (doc.case === "removed" && held === undefined) return { revision: state.revision };
  return change(`what is set at "${prefix}"`, { key, doc, baseRev, who }, parts, context);
}
