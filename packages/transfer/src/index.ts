export type { NodeBytes, ReadOptions, ServedBlob } from "./node-bytes.ts";
