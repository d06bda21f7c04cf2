import { usageError } from "../exit-status.ts";

/** An image as the user names it. */
export interface ImageReference {
  /** host:port in front of the name; undefined when there was none. */
  readonly registry: string | undefined;
  readonly repository: string;
  /** Tag or digest; "latest" when there was none. */
  readonly reference: string;
}

/**
 * Splits [docker://][host:port/]name[:tag][@digest]; a digest wins over a tag.
 * @throws CommandError (exit code 2) when there is no name.
 */
export function parseImage(text: string): ImageReference {
  let rest = text.replace(/^(docker|https?):\/\//, "");
  let reference = "latest";
  const at = rest.indexOf("@");
  if (at >= 0) {
    reference = rest.slice(at + 1);
    rest = rest.slice(0, at);
  }
  const colon = rest.lastIndexOf(":");
  if (colon > rest.lastIndexOf("/")) {
    if (at < 0) reference = rest.slice(colon + 1);
    rest = rest.slice(0, colon);
  }
  const slash = rest.indexOf("/");
  const first = rest.slice(0, Math.max(slash, 0));
  const isHost = /[.:]/.test(first) || first === "localhost";
  const repository = isHost ? rest.slice(slash + 1) : rest;
  if (repository === "" || reference === "")
    throw usageError(`"${text}" is not an image: name:tag or name@digest is wanted`);
  return { registry: isHost ? first : undefined, repository, reference };
}
