import { ContentError } from "@meridian/oci";
import type { PeerIdentity } from "@meridian/runtime";

const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const NAME = new RegExp(`^${LABEL}$`);
const TRUST_DOMAIN = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const URI = new RegExp(`^spiffe://(${LABEL}(?:\\.${LABEL})*)/site/(${LABEL})/(${LABEL})$`);

/**
 * The URI of a service in its certificate: `spiffe://<trust domain>/site/<site>/<service>`
 * (the SPIFFE ID standard, https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md).
 * Throws ContentError `invalid` for names that are no lower-case labels.
 */
export function formatPeerUri({ trustDomain, site, service }: PeerIdentity): string {
  if (!TRUST_DOMAIN.test(trustDomain)) throw new ContentError("invalid", `"${trustDomain}" is no trust domain`);
  for (const name of [site, service]) assertName(name);
  return `spiffe://${trustDomain}/site/${site}/${service}`;
}

/** Undefined when the text is not exactly of that form. */
export function parsePeerUri(text: string): PeerIdentity | undefined {
  const match = URI.exec(text);
  if (match === null) return undefined;
  const [, trustDomain, site, service] = match as unknown as [string, string, string, string];
  return { trustDomain, site, service };
}

/** Throws ContentError `invalid` unless `name` is 1 to 63 of a–z, 0–9 and inner hyphens: it becomes part of paths and URIs. */
export function assertName(name: string): void {
  if (!NAME.test(name)) throw new ContentError("invalid", `"${name}" is no name: use a-z, 0-9 and inner hyphens`);
}
