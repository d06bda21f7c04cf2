import { nodeName, Role, rankNodes, type Topology } from "@meridian/cluster";
import { ContentError, type Digest } from "@meridian/oci";
import type { NodeDirectory } from "@meridian/transfer";

/** Manifests are all that is read whole; nothing larger belongs in memory. */
const MAX_BYTES = 64 * 1024 * 1024;

/** Reads the whole of a small blob from whichever node of this site has it. @throws ContentError `not-found` when none has. */
export function createBlobReading(parameters: {
  readonly topology: Topology;
  readonly nodes: NodeDirectory;
}): (digest: Digest, options: { signal: AbortSignal }) => Promise<Uint8Array> {
  const { topology, nodes } = parameters;
  const own = (): string[] =>
    topology.processes
      .filter((one) => one.site === topology.site && one.roles.includes(Role.blobNode))
      .map((one) => nodeName(one));
  return async (digest, { signal }) => {
    let failure: unknown;
    for (const node of rankNodes(digest, own())) {
      const opened = await nodes
        .bytesOf(node)
        ?.open(digest, { holders: [], signal })
        .catch((error: unknown) => {
          signal.throwIfAborted();
          failure = error;
          return undefined;
        });
      if (opened === undefined) continue;
      await using blob = opened;
      if (blob.size > MAX_BYTES) throw new ContentError("invalid", `${digest} is too large to be a manifest`);
      const chunks: Buffer[] = [];
      await blob.read(
        { start: 0, end: blob.size },
        { write: (chunk) => void chunks.push(Buffer.from(chunk)) },
        { signal },
      );
      return Buffer.concat(chunks);
    }
    if (failure !== undefined) throw failure;
    throw new ContentError("not-found", `no node of site ${topology.site} holds ${digest}`);
  };
}
