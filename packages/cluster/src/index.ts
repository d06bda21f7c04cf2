export { requireAllAsked } from "./asked-members.ts";
export { createPeers, type PeersOptions } from "./connected-peers.ts";
export { isLinkOpen, type LinkRules, linksSchema } from "./link-rules.ts";
export { createLiveTopology, type LiveTopology, type NamedMember, type TopologyChange } from "./live-topology.ts";
export { FIXED_MEMBERSHIP, type Membership } from "./membership.ts";
export { createNodeWatch, type NodeState, type NodeWatch, type NodeWatchOptions } from "./node-watch.ts";
export type { Peers, SiteHealth, SiteMonitor } from "./peers.ts";
export { ownersOf, type PlacedNode, placementOrder, rankNodes } from "./placement.ts";
export { type HolderOrder, orderHolders, type RouteCandidate } from "./route.ts";
export { createSiteMonitor, type SiteMonitorOptions } from "./site-monitor.ts";
export { DEFAULT_SITE_STATE_LIMITS, type SiteStateLimits } from "./site-state.ts";
export {
  bytesUrlOf,
  nodeName,
  type ProcessAddress,
  parseNodeName,
  Role,
  serviceName,
  type Topology,
} from "./topology.ts";
export { isSiteName, memberProblems, memberProcessSchema, topologySchema } from "./topology-schema.ts";
