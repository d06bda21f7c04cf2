import { create } from "@bufbuild/protobuf";
import { policyV1 } from "@meridian/wire";
import type { RepositorySettings, RepositorySettingsTable } from "./repository-settings-table.ts";

/** What a site keeps of a repository: everything, what was pulled there, or nothing. */
export type SitePlacement = "eager" | "lazy" | "never";

/** What is set for repositories, as far as it decides about placement. */
export type PlacementSettings = Pick<RepositorySettingsTable, "of" | "entries">;

/** What a site keeps of a repository for which these settings hold. */
export function placementAt(settings: RepositorySettings, site: string): SitePlacement {
  const placement = settings.placement?.value;
  if (placement === undefined) return "eager";
  if (placement.never.includes(site)) return "never";
  return placement.lazy.includes(site) ? "lazy" : "eager";
}

/** True when any repository keeps something from the site. */
export function isRestricted(settings: PlacementSettings, site: string): boolean {
  return settings.entries().some(({ placement }) => placement?.never.includes(site));
}

/**
 * True when a site may hold the bytes that these repositories show: one of them must allow it. Where anything at all is
 * kept from the site, bytes that no repository is known to show are.
 */
export function mayHold(settings: PlacementSettings, site: string, repositories: () => readonly string[]): boolean {
  if (!isRestricted(settings, site)) return true;
  return repositories().some((repository) => placementAt(settings.of(repository), site) !== "never");
}

/** True when no site that one repository keeps its bytes from would get them by the other. */
export function mayMount(
  settings: Pick<PlacementSettings, "of">,
  { from, to }: { readonly from: string; readonly to: string },
): boolean {
  const kept = settings.of(from).placement?.value.never ?? [];
  return kept.every((site) => placementAt(settings.of(to), site) === "never");
}

/** `eager`, or pairs of site and mode. Undefined for anything else. */
export function parsePlacement(text: string, members: readonly string[]): policyV1.Placement | undefined {
  const placement = create(policyV1.PlacementSchema);
  if (text === "eager") return placement;
  const named = new Set<string>();
  for (const pair of text.split(",")) {
    const [site = "", mode, ...more] = pair.trim().split(":");
    if (!members.includes(site) || named.has(site) || more.length > 0) return undefined;
    named.add(site);
    if (mode === "lazy") placement.lazy.push(site);
    else if (mode === "never") placement.never.push(site);
    else if (mode !== "eager") return undefined;
  }
  // Somebody must hold it.
  return placement.never.length < members.length ? placement : undefined;
}

/** As {@link parsePlacement} reads it. */
export function formatPlacement({ lazy, never }: policyV1.Placement): string {
  const pairs = [...lazy.map((site) => `${site}:lazy`), ...never.map((site) => `${site}:never`)];
  return pairs.length === 0 ? "eager" : pairs.toSorted().join(",");
}
