export type {
  Catalog,
  CatalogEvent,
  CatalogPins,
  CatalogReader,
  CatalogWriter,
  Change,
  DeletedTag,
  ImageContents,
  LinkView,
  ManifestView,
  Page,
  ReferrerView,
  TagCondition,
  TagView,
} from "./catalog.ts";
export type { Collectable, LoneLink, OrphanManifest, Scanned } from "./collectable.ts";
export { ALL_REGISTERS, type Comparable, type ComparedRegister, includes } from "./comparable.ts";
export { type AskMembers, confirmUnneeded, type NeedAnswer, type NeedQuestion, needOf } from "./confirm.ts";
export { findDifferences, MAX_RANGES, type RowSource, summarizeRanges } from "./find-differences.ts";
export { compareHlc, DEFAULT_MAX_SKEW_MS, hlcMs, hlcTime } from "./hlc.ts";
export { registerNameOf } from "./keys.ts";
export { logEntryOf } from "./log-entry.ts";
export { isAbsent, manifestValueOf, noManifestValue } from "./manifest-value.ts";
export { decodeRecord, encodeRecord, isAlive, mergeRecords } from "./merge.ts";
export { type CatalogOptions, type OpenCatalog, openCatalog } from "./open-catalog.ts";
export type { LogLife, Restoring } from "./own-log-life.ts";
export type { OwnPut, OwnPuts } from "./own-puts.ts";
export { type ComparedRow, HASH_BYTES, type RangeSummary, type RowRange } from "./range-summary.ts";
export { type RegisterState, registersOf } from "./register-rows.ts";
export type { Retirement } from "./retirement.ts";
export { CONFLICT_SUBJECT } from "./tag-conflict.ts";
export { DEFAULT_HISTORY, type HistoryKept, type TagWrite } from "./tag-history.ts";
export { formatVersion, joinVersions, type Position, parseVersion, type VersionVector } from "./version-token.ts";
export { fromWireDigest, toWireDigest, tryFromWireDigest } from "./wire-digest.ts";
