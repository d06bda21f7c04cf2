export { MAX_KEY_BYTES } from "./key.ts";
export { KeyValueError, type KeyValueErrorKind } from "./key-value-error.ts";
export { type DroppableStore, type LmdbStoreOptions, openLmdbStore } from "./lmdb-store.ts";
export { createMemoryStore } from "./memory-store.ts";
export type { KeyRange, OrderedReader, OrderedStore, OrderedTransaction } from "./ordered-store.ts";
