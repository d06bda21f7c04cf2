export { type BlobNodeConfig, blobNodeConfigSchema } from "./config.ts";
export { type BlobNode, type BlobNodeDeps, startBlobNode } from "./start-blob-node.ts";
