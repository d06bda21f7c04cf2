import type { Catalog, TagCondition } from "@meridian/catalog";
import { type Digest, isContentError, parseReference } from "@meridian/oci";
import type { Principal } from "@meridian/policy";
import { type Access, repositoryNeed } from "../access.ts";
import type { AnswerHeaders } from "../answer.ts";
import type { CommitRecords } from "../commit-records.ts";
import { preconditionFailed, tagCondition } from "../conditional.ts";
import type { Exchange } from "../exchange.ts";
import type { FindContent } from "../find-content.ts";
import type { Handler } from "../handler.ts";
import { Refusal } from "../refusal.ts";
import type { ReleasePins } from "../release-pins.ts";
import type { TagHome } from "../tag-home.ts";

interface ManifestDeleteParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly find: FindContent;
  readonly commit: CommitRecords;
  readonly release: ReleasePins;
  readonly tagHome: TagHome;
}

/** `DELETE /v2/<name>/manifests/<reference>` (OCI distribution-spec, end-9): by tag the tag, by digest the manifest and every tag that names it. */
export function deleteManifest(parts: ManifestDeleteParts): Handler {
  return async (exchange, { name, reference }) => {
    const principal = await parts.access.admit(exchange, repositoryNeed(name, "delete"));
    const asked = parseReference(reference);
    const condition = tagCondition(exchange);
    if (await parts.tagHome.passedOn(exchange, name)) return;
    const version = await parts.tagHome.decide(name, () =>
      asked.kind === "tag"
        ? deleteTag(name, asked.tag, condition, principal, parts)
        : deleteByDigest(name, asked.digest, condition, principal, parts),
    );
    answerDeleted(exchange, version, parts.answers);
  };
}

async function deleteTag(
  name: string,
  tag: string,
  condition: TagCondition | undefined,
  principal: Principal,
  { catalog, commit }: ManifestDeleteParts,
): Promise<string> {
  const current = catalog.tag(name, tag);
  if (current === undefined)
    throw new Refusal("MANIFEST_UNKNOWN", `repository ${name} has no tag ${tag}`, { detail: { tag } });
  if (
    condition?.ifNoneMatch !== undefined ||
    (condition?.ifMatch !== undefined && condition.ifMatch !== current.digest)
  ) {
    throw preconditionFailed(tag, current.digest);
  }
  try {
    return await commit([{ kind: "delete-tag", repository: name, tag, who: who(principal) }], condition);
  } catch (error) {
    if (isContentError(error, "precondition")) throw preconditionFailed(tag, catalog.tag(name, tag)?.digest);
    throw error;
  }
}

async function deleteByDigest(
  name: string,
  digest: Digest,
  condition: TagCondition | undefined,
  principal: Principal,
  { catalog, find, commit, release }: ManifestDeleteParts,
): Promise<string> {
  if (condition !== undefined) throw new Refusal("UNSUPPORTED", "a condition needs a tag", { status: 400 });
  await find.manifest(name, digest);
  const by = catalog.referencedBy(name, digest);
  if (by.length > 0) {
    throw new Refusal("UNSUPPORTED", "an index of this repository references the manifest: delete that first", {
      detail: { referencedBy: by.slice(0, 20) },
    });
  }
  await release(name, digest);
  try {
    return await commit([{ kind: "delete-manifest", repository: name, digest, who: who(principal) }]);
  } catch (error) {
    // Someone was faster than the checks above.
    if (isContentError(error, "denied")) throw new Refusal("UNSUPPORTED", error.message, { cause: error });
    throw error;
  }
}

function who(principal: Principal): string {
  return principal.name ?? "anonymous";
}

function answerDeleted(exchange: Exchange, version: string, answers: AnswerHeaders): void {
  exchange.send(202, ["Content-Length", "0", ...answers.fixed, "Meridian-Version", version]);
}
