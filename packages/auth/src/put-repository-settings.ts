import { ContentError, ContentErrorKind } from "@meridian/oci";
import { beginTagMove, changedSettings, endTagMove, type PolicyState, repositorySettingsKey } from "@meridian/policy";
import type { CallContext } from "@meridian/rpc";
import type { authV1 } from "@meridian/wire";
import { type AdministrationParts, change, requireAdministrator } from "./administrator.ts";
import { requirePrefix } from "./repository-prefix.ts";

interface Outcome {
  readonly revision: string;
  readonly handoverFrom: string[];
}

/**
 * Changes what is set for the repositories at and below a prefix. Answers when it is effective. A new home of tags
 * begins to decide with a second change, the handover, once the sites named in the answer have acknowledged.
 */
export async function putRepositorySettings(
  request: authV1.PutRepositorySettingsRequest,
  context: CallContext,
  parts: AdministrationParts,
): Promise<Outcome> {
  const who = requireAdministrator(request.token, parts);
  const { prefix, values, handover, acceptLoss } = request;
  requirePrefix(prefix);
  const { state, members } = parts.policy;
  const key = repositorySettingsKey(prefix);
  const baseRev = state.revisionOf(key);
  const what = `what is set at "${prefix}"`;
  const held = state.repositories.at(prefix);
  if (handover !== undefined) {
    if (held?.tags?.pending !== true || sequenceOf(handover.revision) !== baseRev)
      throw new ContentError(ContentErrorKind.conflict, `${what} was changed meanwhile: look at it and try again`);
    const doc = endTagMove(held, handover.after);
    return { ...(await change(what, { key, doc, baseRev, who }, parts, context)), handoverFrom: [] };
  }
  const wanted = changedSettings({ prefix, held, values, members });
  // To take away what is not there changes nothing.
  if (wanted.case === "removed" && held === undefined) return { revision: state.revision, handoverFrom: [] };
  if (!("tags" in values)) return done(await change(what, { key, doc: wanted, baseRev, who }, parts, context));
  const inForce = state.repositories.of(prefix).tags?.value;
  const inherited = inheritedTags(prefix, state);
  const { doc, from } = beginTagMove({ doc: wanted, inForce, inherited, members, acceptLoss });
  const isBegun = from.length > 0 && held?.tags?.pending === true && held.tags.home === newHome(doc);
  if (isBegun) return { revision: revisionOf(state, baseRev), handoverFrom: [...from] };
  return { ...(await change(what, { key, doc, baseRev, who }, parts, context)), handoverFrom: [...from] };
}

function done({ revision }: { readonly revision: string }): Outcome {
  return { revision, handoverFrom: [] };
}

function newHome(doc: ReturnType<typeof changedSettings>): string | undefined {
  return doc.case === "repositorySettings" ? doc.value.tags?.home : undefined;
}

/** What would hold at the prefix without an entry of its own: what holds at the next shorter one. */
function inheritedTags(prefix: string, { repositories }: PolicyState) {
  if (prefix === "") return undefined;
  return repositories.of(prefix.slice(0, Math.max(prefix.lastIndexOf("/"), 0))).tags?.value;
}

function revisionOf(state: PolicyState, seq: number): string {
  return `${state.revision.slice(0, state.revision.indexOf("."))}.${seq}`;
}

function sequenceOf(revision: string): number {
  return Number(revision.slice(revision.indexOf(".") + 1));
}
