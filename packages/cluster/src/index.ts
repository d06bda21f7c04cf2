export type { Peers, SiteHealth, SiteMonitor } from "./peers.ts";
export { nodeName, type ProcessAddress, Role, type Topology } from "./topology.ts";
