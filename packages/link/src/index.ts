export { type Copier, type CopierOptions, type CopierStatus, startCopier } from "./copier.ts";
export { createHeldService } from "./held-service.ts";
export { leaveCopy } from "./leave-copy.ts";
export {
  createLogTailService,
  LINK_VERSIONS,
  type LogTailServiceOptions,
  type OwnLogGuard,
  type ReaderReport,
} from "./log-tail-service.ts";
export type { QuarantinedEntry } from "./quarantine.ts";
export type { FoldedPosition } from "./reporter.ts";
export { copyStream, ownStream } from "./stream-names.ts";
export type { TailSource } from "./tail-session.ts";
export { fromWireCursor } from "./wire-cursor.ts";
