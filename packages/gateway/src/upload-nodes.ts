import { nodeName, type Peers, type Topology } from "@meridian/cluster";
import { ContentError } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { NodeBytes } from "@meridian/transfer";
import { blobV1 } from "@meridian/wire";

/** The blob nodes of this site, by process name, as uploads use them. */
export interface UploadNodes {
  /** @throws ContentError `not-found` when the site has no such node any more. */
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
      if (address === undefined) throw new ContentError("not-found", `this site has no blob node ${node}`);
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
