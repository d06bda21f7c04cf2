/** A service role that a process may run. */
export const Role = { gateway: "gateway", blobNode: "blob-node", replicator: "replicator", auth: "auth" } as const;
export type Role = (typeof Role)[keyof typeof Role];

/** One process of the cluster, and where its internal listeners are. */
export interface ProcessAddress {
  readonly site: string;
  /** Unique inside the site, e.g. "blob-node-1"; "site" when one process runs all roles. */
  readonly process: string;
  readonly roles: readonly Role[];
  /** host:port of its gRPC listener (mTLS). */
  readonly grpc: string;
  /** https origin of its byte listener (mTLS); only with the blob-node role. */
  readonly bytes?: string;
  /** Origin of its OCI listener; only with the gateway role. */
  readonly edge?: string;
  /** What a blob node shares with others of its site (rack, power, machine): copies avoid sharing one. Absent: nothing. */
  readonly zone?: string;
}

/** The cluster: the same table in every process, seen from one site. Sites and processes change while the process runs: read them anew each time. */
export interface Topology {
  /** The cluster's name: token audience, `service` of the token realm, trust domain. */
  readonly cluster: string;
  readonly site: string;
  readonly process: string;
  /** All members, this site included: those of the configuration until the policy log names them; another list once they change. */
  readonly sites: readonly string[];
  /** The processes of these sites. */
  readonly processes: readonly ProcessAddress[];
}

/** A node's full name as records and headers carry it: site/process. */
export function nodeName(address: Pick<ProcessAddress, "site" | "process">): string {
  return `${address.site}/${address.process}`;
}

/** The name of the process's service in certificates: its only role, or "site" when it runs several. */
export function serviceName(address: Pick<ProcessAddress, "roles">): string {
  const [role, ...others] = address.roles;
  return role !== undefined && others.length === 0 ? role : "site";
}

/** One table for each list of processes: asked on the pull path, and a list never changes. */
const byteUrls = new WeakMap<readonly ProcessAddress[], ReadonlyMap<string, string | undefined>>();

/** The origin of a node's byte listener; undefined when the topology names none. */
export function bytesUrlOf({ processes }: Topology, node: string): string | undefined {
  let urls = byteUrls.get(processes);
  if (urls === undefined) {
    urls = new Map(processes.map((address) => [nodeName(address), address.bytes]));
    byteUrls.set(processes, urls);
  }
  return urls.get(node);
}

/** Splits `site/process`; undefined when the text is not a node's full name. */
export function parseNodeName(node: string): { readonly site: string; readonly process: string } | undefined {
  const [site, process, ...rest] = node.split("/");
  return site && process && rest.length === 0 ? { site, process } : undefined;
}
