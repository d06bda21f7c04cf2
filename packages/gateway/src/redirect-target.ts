import { isIP } from "node:net";
import type { ClientOrigin } from "./client-origin.ts";
import type { Exchange } from "./exchange.ts";

/** Below this a second connection costs a client more than the bytes. */
export const LEAST_REDIRECTED_BYTES = 1024 * 1024;

/** The URL at which the client may read a blob instead; undefined when it is to be answered from here. */
export function redirectTarget(
  exchange: Exchange,
  link: string | undefined,
  clients: Pick<ClientOrigin, "origin">,
): string | undefined {
  if (link === undefined || !URL.canParse(link)) return undefined;
  return mayFollow(new URL(link).hostname, new URL(clients.origin(exchange)).hostname) ? link : undefined;
}

/**
 * Clients written in Go refuse to go from a name to an address, and send their token to the same host on another port and
 * to names below it, where S3 refuses it beside a signature.
 */
export function mayFollow(target: string, registry: string): boolean {
  if (isIP(target.replace(/^\[|\]$/g, "")) !== 0) return false;
  return target !== registry && !target.endsWith(`.${registry}`);
}
