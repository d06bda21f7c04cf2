import { randomUUID } from "node:crypto";
import { bytesUrlOf, nodeName, type ProcessAddress, Role, type SiteMonitor, type Topology } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { RpcServer } from "@meridian/rpc";
import {
  type Clock,
  createSystemClock,
  type HealthCheck,
  type IdentifyPeer,
  type Logger,
  type PeerIdentity,
  systemTimers,
  type Timers,
  type TlsSource,
} from "@meridian/runtime";
import { type BlobStore, type CachedBlobStore, withDraining } from "@meridian/storage";
import { createNodeDirectory, type NodeBytes, type NodeDirectory, startByteServer } from "@meridian/transfer";
import { blobV1, nodeV1 } from "@meridian/wire";
import { createBlobNodeService, METHODS_FOR_ALL } from "./blob-node-service.ts";
import type { BlobNodeConfig } from "./config.ts";
import { DirectReads } from "./direct-read.ts";
import { FetchTable } from "./fetch-table.ts";
import { Holders } from "./holders.ts";
import { LinkGate } from "./link-gate.ts";
import { createLocalBytes } from "./local-bytes.ts";
import { LongLinkReads } from "./long-link-reads.ts";
import { lookAfterCopies } from "./look-after-copies.ts";
import { LostBlobs } from "./lost-blobs.ts";
import { createNodeService } from "./node-service.ts";
import { NodeStateFile } from "./node-state.ts";
import { Quarantine } from "./quarantine.ts";
import { ReadLoad } from "./read-load.ts";
import { createStorageCheck } from "./storage-check.ts";
import { createBlobNodeEvents } from "./telemetry.ts";
import { Uploads } from "./uploads.ts";

/** What a blob node is given by its process. */
export interface BlobNodeDeps {
  /** Names this node, and tells where the others' bytes are. */
  readonly topology: Topology;
  /** The bytes; stays the caller's to dispose, after the node. */
  readonly store: BlobStore & Partial<Pick<CachedBlobStore, "cached">>;
  /** Takes the control service; the caller lets it listen afterwards. Absent: no control service. */
  readonly rpc?: Pick<RpcServer, "register">;
  /** The process's directory of nodes; this node attaches itself to it. Absent: it makes its own. */
  readonly nodes?: NodeDirectory;
  /** Mutual TLS of the byte listener and of connections to holders. Absent only in tests: plain HTTP. */
  readonly tls?: TlsSource;
  readonly identify?: IdentifyPeer;
  /** What is thought of other sites: decides which holder is asked first, and hears how it went. */
  readonly monitor?: Pick<SiteMonitor, "health" | "report">;
  /** Where the node remembers that it is being drained; absent only in tests: it forgets. */
  readonly stateFile?: string;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** A blob has become present here: verified, fsynced. Not called again for one that was present. */
  readonly onStored?: (digest: Digest, size: number, cause: "upload" | "fetch") => void;
  /** Whether another site may have a blob's bytes. Absent: every member may. @throws ContentError when that is not known now. */
  readonly mayHold?: (site: string, digest: Digest) => boolean | Promise<boolean>;
  /** Where the scrub keeps its position over restarts; absent: it begins anew at each start. */
  readonly scrubFile?: string;
}

/** A running blob node. Disposing stops the listener and the fetches; partials and uploads stay for the next start. */
export interface BlobNode extends AsyncDisposable {
  /** site/process */
  readonly node: string;
  /** This node's bytes, for callers inside the process. */
  readonly bytes: NodeBytes;
  /** Origin of the byte listener as bound. */
  readonly url: string;
  readonly address: { readonly host: string; readonly port: number };
  readonly checks: readonly HealthCheck[];
}

/** Starts the node's byte listener and registers its control service. Rejects when the address is taken. */
export async function startBlobNode(config: BlobNodeConfig, deps: BlobNodeDeps): Promise<BlobNode> {
  const { topology, tls, identify, monitor, clock = createSystemClock(), timers = systemTimers } = deps;
  const self = nodeName(topology);
  const store = withDraining(deps.store);
  const log = deps.log.child({ component: "blob-node" });
  const events = createBlobNodeEvents(log);
  const lost = new LostBlobs({ store, events });
  const announce = (cause: "upload" | "fetch") => (digest: Digest, size: number) => {
    lost.found(digest);
    try {
      deps.onStored?.(digest, size, cause);
    } catch (error) {
      // The blob is stored all the same.
      log.error("a stored blob could not be announced", { digest, error });
    }
  };
  await using stack = new AsyncDisposableStack();
  const state = await NodeStateFile.open(deps.stateFile);
  stack.use(lost);
  const nodes =
    deps.nodes ??
    stack.use(createNodeDirectory({ urlOf: (node) => bytesUrlOf(topology, node), tls, identify, log, timers }));
  const quarantine = new Quarantine({ clock, forMs: config.quarantineMs });
  const bytesOf = (node: string): NodeBytes | undefined => nodes.bytesOf(node);
  const holders = new Holders({ self, bytesOf, quarantine, monitor, stallTimeoutMs: config.stallTimeoutMs });
  const sharers = (): number => topology.processes.filter((one) => isNodeOf(one, topology.site)).length;
  const gate = stack.use(new LinkGate({ rules: config.links, sharers, clock, timers }));
  const reads = new LongLinkReads({ self, holders });
  const uploads = stack.use(new Uploads({ store, timers, events, onStored: announce("upload") }));
  const fetches = stack.use(
    new FetchTable({
      ...{ store, holders, reads, gate, quarantine, events, clock, timers },
      limits: { pull: config.pullFetches, background: config.backgroundFetches },
      onStored: announce("fetch"),
    }),
  );
  const direct = new DirectReads({ holders, gate, events, clock, timers });
  const load = new ReadLoad();
  const bytes = createLocalBytes({ self, store, fetches, direct, uploads, state, lost, load });
  stack.use(nodes.attach(self, bytes));
  const care = { config, lost, load, events, clock, timers, log };
  const scrubber = stack.use(await lookAfterCopies(store, { ...care, file: deps.scrubFile }));
  const control = createBlobNodeService({
    ...{ self, store, fetches, uploads, state, lost, scrubber: scrubber.scrubber },
    scrubBytesPerSecond: config.scrub.bytesPerSecond,
    incarnation: randomUUID(),
  });
  deps.rpc?.register(blobV1.BlobNodeService, control, {
    allow: (peer, method) => METHODS_FOR_ALL.has(method) || peer.site === topology.site,
  });
  deps.rpc?.register(nodeV1.NodeService, createNodeService({ self, store, state, lost, events }), {
    allow: (peer) => peer.site === topology.site,
  });
  const server = stack.use(
    await startByteServer({
      ...{ node: bytes, tls, identify, log, clock, timers },
      ...{ host: config.bytes.host, port: config.bytes.port, bodyIdleMs: config.bodyIdleMs },
      allow: (peer, action) => action === "read" || isOfSite(peer, topology.site),
      mayRead: (peer, digest) =>
        peer === undefined || peer.site === topology.site || (deps.mayHold?.(peer.site, digest) ?? true),
      // Only this site's own gateways know that what they ask for may be here.
      mayFetch: (peer) => isOfSite(peer, topology.site),
    }),
  );
  const running = stack.move();
  return {
    node: self,
    bytes,
    url: server.url,
    address: { host: server.host, port: server.port },
    checks: [createStorageCheck(store, clock)],
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function isNodeOf({ site, roles }: ProcessAddress, wanted: string): boolean {
  return site === wanted && roles.includes(Role.blobNode);
}

/** Over plain HTTP there is no identity, and no other site either. */
function isOfSite(peer: PeerIdentity | undefined, site: string): boolean {
  return peer === undefined || peer.site === site;
}
