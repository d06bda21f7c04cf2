export type {
  Catalog,
  CatalogEvent,
  CatalogReader,
  CatalogWriter,
  Change,
  LinkView,
  ManifestView,
  Page,
  ReferrerView,
  TagCondition,
  TagView,
} from "./catalog.ts";
