import { join } from "node:path";
import {
  createLiveTopology,
  type LiveTopology,
  type ProcessAddress,
  type Role,
  serviceName,
  type Topology,
} from "@meridian/cluster";
import { usageError } from "../exit-status.ts";
import type { SiteConfig } from "./site-config.ts";

/** Who this process is and what it runs. */
export interface ProcessIdentity {
  readonly topology: Topology;
  /** Changes `topology` when the configuration's table does. */
  readonly live: LiveTopology;
  readonly roles: ReadonlySet<Role>;
  /** The service name in its certificate: its only role, or "site". */
  readonly service: string;
  /** A path in its data folder. */
  readonly folder: (name: string) => string;
}

/** `onlyRoles`: the value of --roles; absent: all that the topology gives this process. @throws CommandError (exit code 2). */
export function processIdentity(config: SiteConfig, onlyRoles: string | undefined): ProcessIdentity {
  const live = createLiveTopology(config.topology);
  const { topology } = live;
  const own = topology.processes.find((one) => one.site === topology.site && one.process === topology.process);
  if (own === undefined) throw usageError(`topology.processes does not list ${topology.site}/${topology.process}`);
  return {
    topology,
    live,
    roles: chooseRoles(own, onlyRoles),
    service: serviceName(own),
    folder: (name) => join(config.dataDir, name),
  };
}

function chooseRoles(own: ProcessAddress, onlyRoles: string | undefined): ReadonlySet<Role> {
  if (onlyRoles === undefined) return new Set(own.roles);
  const wanted = onlyRoles.split(",").map((role) => role.trim());
  const unknown = wanted.filter((role) => !own.roles.some((one) => one === role));
  if (unknown.length > 0) {
    throw usageError(`--roles ${unknown.join(",")}: the topology gives this process ${own.roles.join(",")}`);
  }
  return new Set(own.roles.filter((role) => wanted.includes(role)));
}
