import { clone, create } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { policyV1 } from "@meridian/wire";
import type { PolicyDoc } from "./entry-key.ts";

type TagWrites = policyV1.TagWrites | undefined;

/** The sites that decide about writes of tags: all of them without a home, none but the former ones while it moves. */
export function tagDeciders(tags: TagWrites, members: readonly string[]): readonly string[] {
  if (tags?.pending) return tags.from;
  return tags === undefined || tags.home === "" ? members : [tags.home];
}

/**
 * The document that begins to move the home of tags, when sites other than the new home decided before; the document as
 * it is when no move is needed. `inForce` is what held at the prefix, `inherited` what holds there without an entry.
 * @throws ContentError `invalid` when what is to be inherited is another home.
 */
export function beginTagMove({
  doc,
  inForce,
  inherited,
  members,
  acceptLoss,
}: {
  readonly doc: PolicyDoc;
  readonly inForce: TagWrites;
  readonly inherited: TagWrites;
  readonly members: readonly string[];
  readonly acceptLoss: boolean;
}): { readonly doc: PolicyDoc; readonly from: readonly string[] } {
  const wanted = doc.case === "repositorySettings" ? doc.value.tags : undefined;
  const home = (wanted ?? inherited)?.home ?? "";
  const deciders = tagDeciders(inForce, members);
  const isMove = home !== "" && deciders.some((site) => site !== home);
  if (!isMove || acceptLoss) return { doc, from: [] };
  if (doc.case !== "repositorySettings" || wanted === undefined)
    throw new ContentError(
      ContentErrorKind.invalid,
      `without a value of their own the tags would have another home: set tags=home:${home} first, then take it away`,
    );
  const value = clone(policyV1.RepositorySettingsSchema, doc.value);
  value.tags = create(policyV1.TagWritesSchema, { home, pending: true, from: [...deciders] });
  return { doc: { case: "repositorySettings", value }, from: deciders };
}

/** The document that ends a move: from here on the new home decides, once it has folded `after`. */
export function endTagMove(held: policyV1.RepositorySettings, after: readonly string[]): PolicyDoc {
  const value = clone(policyV1.RepositorySettingsSchema, held);
  value.tags = create(policyV1.TagWritesSchema, { home: held.tags?.home ?? "", after: [...after] });
  return { case: "repositorySettings", value };
}
