export type { BlobChecks, CheckOptions, CheckOutcome, Damage, QuarantinedCopy } from "./blob-checks.ts";
export type {
  BlobDeleter,
  BlobInfo,
  BlobLister,
  BlobReader,
  BlobStore,
  BlobWriter,
  ByteSink,
  ByteSpan,
  ListOptions,
  OpenBlob,
  Upload,
} from "./blob-store.ts";
export { BUFFER_BYTES, BufferPool } from "./buffer-pool.ts";
export { type DrainingStore, type Removal, withDraining } from "./draining-store.ts";
export { type FilesystemStoreOptions, openFilesystemStore } from "./filesystem-store.ts";
export { createMemoryBlobStore } from "./memory-store.ts";
export { type CachedBlobStore, type SmallBlobCacheOptions, withSmallBlobCache } from "./small-blob-cache.ts";
