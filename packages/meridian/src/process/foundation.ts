import { bytesUrlOf, createPeers, createSiteMonitor, type Peers, type SiteMonitor } from "@meridian/cluster";
import { createIdentifyPeer, fileTlsSource } from "@meridian/pki";
import { createRpcServer, type RpcServer } from "@meridian/rpc";
import {
  createSystemClock,
  type HealthCheck,
  type IdentifyPeer,
  type Logger,
  type OnPersistStep,
  type SystemClock,
  type TlsSource,
  systemTimers as timers,
} from "@meridian/runtime";
import { createNodeDirectory, type NodeDirectory } from "@meridian/transfer";
import type { ProcessIdentity } from "./identity.ts";
import type { LoadedSite } from "./load-site.ts";

/** What all roles of a process share. Health checks are added by the roles as they open. */
export interface Foundation {
  readonly loaded: LoadedSite;
  readonly identity: ProcessIdentity;
  readonly clock: SystemClock;
  readonly log: Logger;
  readonly tls: TlsSource;
  readonly identify: IdentifyPeer;
  readonly rpc: RpcServer;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly nodes: NodeDirectory;
  readonly checks: HealthCheck[];
  /** Absent but under `faults: true`. */
  readonly onStep?: OnPersistStep;
}

/** Opens it on the stack: TLS, the gRPC server (not listening yet), callers of the other processes, their health. */
export function openFoundation(
  loaded: LoadedSite,
  identity: ProcessIdentity,
  log: Logger,
  stack: AsyncDisposableStack,
  onStep?: OnPersistStep,
): Foundation {
  const clock = createSystemClock();
  const { topology } = identity;
  const tls = stack.use(fileTlsSource({ ...loaded.config.tls, timers, log }));
  const identify = createIdentifyPeer(topology.cluster);
  const rpc = stack.use(createRpcServer({ tls, identify, log, timers, drainTimeoutMs: loaded.config.drainTimeoutMs }));
  const peers = stack.use(createPeers({ topology, rpc, tls, identify, log, clock, timers }));
  const monitor = stack.use(createSiteMonitor({ peers, clock, timers, log }));
  const nodes = stack.use(
    createNodeDirectory({
      urlOf: (node) => bytesUrlOf(topology, node),
      tls,
      identify,
      log,
      timers,
    }),
  );
  return { loaded, identity, clock, log, tls, identify, rpc, peers, monitor, nodes, checks: [], onStep };
}
