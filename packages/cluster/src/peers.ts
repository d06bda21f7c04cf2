import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { ServiceClient } from "@meridian/rpc";
import type { ProcessAddress, Role, Topology } from "./topology.ts";

/** Callers of every process of the cluster: in-process ones for roles that run here, gRPC channels kept open for the rest. */
export interface Peers extends AsyncDisposable {
  readonly topology: Topology;
  /** Processes with the role, of one site or of all; those believed alive first. */
  processes(role: Role, site?: string): readonly ProcessAddress[];
  /** Undefined when the topology does not name it. */
  process(site: string, process: string): ProcessAddress | undefined;
  /** A caller of one process. */
  client<M extends GenServiceMethods>(service: GenService<M>, address: ProcessAddress): ServiceClient<GenService<M>>;
}

/** What this site thinks of another one. */
export interface SiteHealth {
  readonly site: string;
  /** `unknown`: not reached since start; `suspect`: missed probes or failed passively, asked only when nothing else is left; `down`: no answer for 3 s. */
  readonly state: "live" | "suspect" | "down" | "unknown";
  /** EWMA of the round trip in milliseconds; absent until measured. 0 for this site. */
  readonly rttMs?: number;
  /** Names of the checks that the site says fail. */
  readonly failing: readonly string[];
}

/** Measures round trips and health of the other sites. */
export interface SiteMonitor extends AsyncDisposable {
  health(site: string): SiteHealth;
  /** Live members other than this site, nearest first. */
  live(): readonly string[];
  /** All other members: live ones nearest first, then suspect, unknown, down. */
  ordered(): readonly string[];
  /** Reports what a real request saw: counts beside the probes. */
  report(site: string, outcome: "ok" | "failed"): void;
  /** Calls `listener` whenever a site's state changes, until disposed. */
  subscribe(listener: (health: SiteHealth) => void): Disposable;
}
