import { isIP } from "node:net";
import type { Digest } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import type { NodeBytes } from "@meridian/transfer";
import type { ClientOrigin } from "./client-origin.ts";
import type { Exchange } from "./exchange.ts";

/** What decides whether a client is sent to the bytes instead of the bytes to the client. */
export interface RedirectParts {
  /** The node of this very process. */
  readonly node: NodeBytes | undefined;
  readonly clients: Pick<ClientOrigin, "origin">;
  /** How long the URL lives at most: so long a withdrawn right may still be used. */
  readonly maxStalenessMs: number;
  readonly log: Logger;
}

/** Below this a second connection costs a client more than the bytes. */
const LEAST_BYTES = 1024 * 1024;

/**
 * A signed URL of the blob at which the client may read it; undefined when it is to be answered from here, which is
 * always so unless the node of this process gives such URLs.
 */
export async function redirectTarget(
  exchange: Exchange,
  blob: { readonly digest: Digest; readonly size: number },
  { node, clients, maxStalenessMs, log }: RedirectParts,
): Promise<string | undefined> {
  if (node?.link === undefined || blob.size < LEAST_BYTES) return undefined;
  try {
    const target = await node.link(blob.digest, { forMs: maxStalenessMs });
    if (target === undefined) return undefined;
    return mayFollow(new URL(target).hostname, new URL(clients.origin(exchange)).hostname) ? target : undefined;
  } catch (error) {
    log.debug("no signed URL for a blob: it is sent from here", { digest: blob.digest, error });
    return undefined;
  }
}

/**
 * Clients written in Go refuse to go from a name to an address, and send their token to the same host on another port and
 * to names below it, where S3 refuses it beside a signature.
 */
export function mayFollow(target: string, registry: string): boolean {
  if (isIP(target.replace(/^\[|\]$/g, "")) !== 0) return false;
  return target !== registry && !target.endsWith(`.${registry}`);
}
