export type { ClientTls } from "./byte-agent.ts";
export { type ByteClientOptions, createByteClient } from "./byte-client.ts";
export { type ByteAction, type ByteServer, type ByteServerOptions, startByteServer } from "./byte-server.ts";
export { type FailoverReadOptions, type FailoverReadResult, failoverRead } from "./failover-read.ts";
export { HELD_BACK_BYTES, type HeldBackSink, holdBack } from "./held-back-sink.ts";
export type { AppendOptions, NodeBytes, OpenSpan, ReadOptions, ServedBlob } from "./node-bytes.ts";
export { createNodeDirectory, type NodeDirectory, type NodeDirectoryOptions } from "./node-directory.ts";
export { type ProgressWatch, type ProgressWatchOptions, watchProgress } from "./progress-watch.ts";
export { openUploadSession, peekUploadSite, sealUploadSession, type UploadSession } from "./upload-session.ts";
