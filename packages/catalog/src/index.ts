export type {
  Catalog,
  CatalogEvent,
  CatalogPins,
  CatalogReader,
  CatalogWriter,
  Change,
  ImageContents,
  LinkView,
  ManifestView,
  Page,
  ReferrerView,
  TagCondition,
  TagView,
} from "./catalog.ts";
export { compareHlc, DEFAULT_MAX_SKEW_MS, hlcMs, hlcTime } from "./hlc.ts";
export { isAbsent, manifestValueOf } from "./manifest-value.ts";
export { decodeRecord, encodeRecord, isAlive, mergeRecords } from "./merge.ts";
export { type CatalogOptions, type OpenCatalog, openCatalog } from "./open-catalog.ts";
export { type RegisterState, registersOf } from "./register-rows.ts";
export { formatVersion, type Position, parseVersion, type VersionVector } from "./version-token.ts";
export { fromWireDigest, toWireDigest, tryFromWireDigest } from "./wire-digest.ts";
