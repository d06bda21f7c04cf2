export type { KeyRange, OrderedReader, OrderedStore, OrderedTransaction } from "./ordered-store.ts";
