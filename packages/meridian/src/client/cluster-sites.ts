import { failure, usageError } from "../exit-status.ts";
import { describeError, type RegistryClient } from "./registry-client.ts";

/** A site as a gateway's status tells it. */
export interface SiteStatus {
  readonly name: string;
  /** Null until measured. */
  readonly rttMs: number | null;
  /** Origins of its gateways, as clients call them. */
  readonly gateways: readonly string[];
}

/** The cluster's sites, as the gateway sees them. @throws CommandError (exit code 1). */
export async function clusterSites(registry: RegistryClient): Promise<readonly SiteStatus[]> {
  const answer = await registry.call("/v2/_meridian/status");
  if (answer.status !== 200) throw failure(`${registry.server}: ${describeError(answer)}`);
  return (JSON.parse(answer.text) as { sites: SiteStatus[] }).sites;
}

/** The site of this name. @throws CommandError (exit code 2) that lists those there are. */
export function siteNamed(sites: readonly SiteStatus[], name: string, option: string): SiteStatus {
  const found = sites.find((site) => site.name === name);
  if (found !== undefined) return found;
  throw usageError(`${option} ${name}: the cluster's sites are ${sites.map((site) => site.name).join(", ")}`);
}
