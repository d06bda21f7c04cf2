export { createPeers, type PeersOptions } from "./connected-peers.ts";
export type { Peers, SiteHealth, SiteMonitor } from "./peers.ts";
export { ownersOf, type PlacedNode, placementOrder, rankNodes } from "./placement.ts";
export { type HolderOrder, orderHolders, type RouteCandidate } from "./route.ts";
export { createSiteMonitor, type SiteMonitorOptions } from "./site-monitor.ts";
export { DEFAULT_SITE_STATE_LIMITS, type SiteStateLimits } from "./site-state.ts";
export { nodeName, type ProcessAddress, parseNodeName, Role, serviceName, type Topology } from "./topology.ts";
export { topologySchema } from "./topology-schema.ts";
