import { ContentError, ContentErrorKind } from "@meridian/oci";

const COMPONENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const PREFIX = new RegExp(`^(?:${COMPONENT}(?:/${COMPONENT})*)?$`);
const MAX_PREFIX_LENGTH = 255;

/** @throws ContentError `invalid` when it is no repository's name, nor whole components in front of one, nor empty. */
export function requirePrefix(prefix: string): void {
  if (prefix.length > MAX_PREFIX_LENGTH || !PREFIX.test(prefix))
    throw new ContentError(
      ContentErrorKind.invalid,
      `"${prefix.slice(0, 80)}" is no repository name or path in front of one`,
    );
}
