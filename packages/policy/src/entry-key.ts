import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { policyV1 } from "@meridian/wire";

/** The document of an entry: what its key is set to. */
export type PolicyDoc = policyV1.Entry["doc"];

/** Key of a user's entry. */
export const userKey = (name: string): string => `user/${name}`;

/** Key of the one grant that a principal has at a prefix. */
export const grantKey = (principal: string, repositoryPrefix: string): string =>
  `grant/${principal}/${repositoryPrefix}`;

/** Key of a token signing key. */
export const signingKeyKey = (keyId: string): string => `key/${keyId}`;

/** Key of a member site. */
export const memberKey = (site: string): string => `member/${site}`;

/** Key of what is set for the repositories at and below a prefix. */
export const repositorySettingsKey = (prefix: string): string => `repo/${prefix}`;

/** Key of the cluster's settings. Written last at bootstrap: from then on the log alone says who is a member. */
export const SETTINGS_KEY = "settings/cluster";

/** The key that a document must stand under; undefined for a removal or a document of a newer version. */
export function keyOfDoc(doc: PolicyDoc): string | undefined {
  switch (doc.case) {
    case "user":
      return userKey(doc.value.name);
    case "grant":
      return grantKey(doc.value.principal, doc.value.repositoryPrefix);
    case "signingKey":
      return signingKeyKey(doc.value.keyId);
    case "member":
      return memberKey(doc.value.site);
    case "settings":
      return SETTINGS_KEY;
    case "repositorySettings":
      return repositorySettingsKey(doc.value.prefix);
    default:
      return undefined;
  }
}

/** @throws ContentError `invalid` when an entry must not enter the log. */
export function checkProposal(entry: policyV1.Entry): void {
  const problem = proposalProblem(entry);
  if (problem) throw new ContentError(ContentErrorKind.invalid, `policy entry refused: ${problem}`);
}

function proposalProblem(entry: policyV1.Entry): string | undefined {
  if (entry.doc.case === undefined) return "it has no document";
  if (entry.opId === "" || entry.opId.length > 128) return "its operation id is empty or too long";
  if (entry.key === "" || entry.key.length > 1024) return "its key is empty or too long";
  const expected = keyOfDoc(entry.doc);
  if (expected !== undefined && expected !== entry.key)
    return `key ${entry.key} does not fit its document (${expected})`;
  if (entry.doc.case === "signingKey" && entry.doc.value.publicKey.length !== 32)
    return "an Ed25519 public key has 32 bytes";
  return undefined;
}
