import { nodeName, type Peers, type Topology } from "@meridian/cluster";
import { ContentError } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { NodeBytes } from "@meridian/transfer";
import { blobV1 } from "@meridian/wire";
import { unknownUpload } from "./blob-push.ts";
import type { Exchange } from "./exchange.ts";

/** The blob nodes of this site, by process name, as uploads use them. */
export interface UploadNodes {
  /** @throws Refusal BLOB_UPLOAD_UNKNOWN when the site has no such node any more. */
  control(node: string): ServiceClient<typeof blobV1.BlobNodeService>;
  /** @throws ContentError `unavailable` when there is no way to it. */
  bytes(node: string): NodeBytes;
}

export function createUploadNodes({
  topology,
  peers,
  bytesOf,
}: {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly bytesOf: (node: string) => NodeBytes | undefined;
}): UploadNodes {
  return {
    control(node) {
      const address = peers.process(topology.site, node);
      if (address === undefined) throw unknownUpload();
      return peers.client(blobV1.BlobNodeService, address);
    },
    bytes(node) {
      const full = nodeName({ site: topology.site, process: node });
      const bytes = bytesOf(full);
      if (bytes === undefined) throw new ContentError("unavailable", `there is no way to ${full}`);
      return bytes;
    },
  };
}

/**
 * Appends a request's body to an upload and resolves with the acknowledged offset. `offset` absent: the body starts at
 * the last acknowledged one. `final`: a commit follows.
 */
export async function appendBody(
  node: NodeBytes,
  uploadId: string,
  exchange: Exchange,
  { offset, final = false }: { readonly offset: number | undefined; readonly final?: boolean },
): Promise<number> {
  // Not tied to the client's going away: what has arrived is kept for a resume. A body that breaks off ends it.
  const appended = await node.append(uploadId, exchange.body(), { offset, final });
  return appended.offset;
}
