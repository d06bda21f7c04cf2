import { Refusal } from "./refusal.ts";

/** A user name and password; either may be empty, but not both. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/**
 * The credentials of an Authorization header (RFC 7617). Empty ones are what clients without a login send: undefined, as
 * for no header.
 * @throws Refusal 401 for any other scheme, or what is not base64.
 */
export function basicCredentials(header: string | undefined): Credentials | undefined {
  if (header === undefined) return undefined;
  const match = /^basic(?: +([A-Za-z0-9+/_=-]*))?$/i.exec(header);
  if (match === null) throw badCredentials("the token endpoint takes Basic credentials");
  const text = Buffer.from(match[1] ?? "", "base64").toString("utf8");
  const colon = text.indexOf(":");
  const username = colon < 0 ? text : text.slice(0, colon);
  const password = colon < 0 ? "" : text.slice(colon + 1);
  return username === "" && password === "" ? undefined : { username, password };
}

/** The 401 of the token endpoint. */
export function badCredentials(message: string, cause?: unknown): Refusal {
  return new Refusal("UNAUTHORIZED", message, { headers: ["WWW-Authenticate", 'Basic realm="meridian"'], cause });
}
