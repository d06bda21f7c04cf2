export { type DevCommand, devCommandSchema } from "./command-server.ts";
export { type DevCluster, startDevCluster } from "./dev-cluster.ts";
export { startFaultHooks } from "./fault-hooks.ts";
export { AlreadyRunningError } from "./leftovers.ts";
export { createLinkFabric, type LinkFabric, splitPair } from "./link-fabric.ts";
export { bracketed, type DevOptions, edgeOrigin, type Plan, PortTakenError } from "./plan.ts";
export { DEV_CLUSTER } from "./process-config.ts";
export { type RunFile, type RunLink, type RunSite, readRunFile } from "./run-file.ts";
export { sendCommand } from "./unix-socket.ts";
