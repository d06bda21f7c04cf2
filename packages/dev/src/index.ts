export { devCommandSchema } from "./command-server.ts";
export { type DevCommand, type RunFile, type RunLink, type RunSite, readRunFile, sendCommand } from "./control.ts";
export { type DevCluster, startDevCluster } from "./dev-cluster.ts";
export { AlreadyRunningError } from "./leftovers.ts";
export { createLinkFabric, type LinkFabric, splitPair } from "./link-fabric.ts";
export { bracketed, type DevOptions, edgeOrigin, type Plan, PortTakenError } from "./plan.ts";
export { DEV_CLUSTER, faultSocketPath } from "./process-config.ts";
