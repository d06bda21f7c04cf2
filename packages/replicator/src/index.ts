export type { RunningFetch } from "./blob-fetcher.ts";
export { type CollectionConfig, collectionConfigSchema } from "./collection/config.ts";
export { registerRetirement } from "./collection/retirement-service.ts";
export { type ReplicatorConfig, replicatorConfigSchema } from "./config.ts";
export { registerViewDiff } from "./diff/view-diff-service.ts";
export type { AskedMember } from "./held-by-members.ts";
export { LogRestorer, type LogRestorerOptions } from "./log-restorer.ts";
export {
  type Replicator,
  type ReplicatorCatalog,
  type ReplicatorDeps,
  type ReplicatorStatus,
  startReplicator,
} from "./service.ts";
export type { WantedCounts } from "./wanted-blobs.ts";
