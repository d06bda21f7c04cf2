export type {
  BlobDeleter,
  BlobInfo,
  BlobLister,
  BlobReader,
  BlobStore,
  BlobWriter,
  ByteSink,
  ByteSpan,
  OpenBlob,
  Upload,
} from "./blob-store.ts";
