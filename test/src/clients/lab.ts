import type { DevProcess } from "../harness/dev-process.ts";
import type { ToolBox } from "../harness/tool-box.ts";

/** What the tests of one client are given: a cluster of three sites, and a place for the client's things. */
export interface Lab {
  readonly cluster: DevProcess;
  readonly tools: ToolBox;
}

export const SITES = ["eu", "us", "ap"] as const;

/** A site's gateway as a client names a registry: host and port. */
export function registry({ cluster }: Lab, site: string): string {
  return new URL(cluster.gateway(site)).host;
}

/** For `{ skip }` of what a user without rights can do only with a set-up of the machine: subordinate ids, mounts. */
export function needsRoot(): string | false {
  if (process.getuid?.() === 0) return false;
  if (process.env.MERIDIAN_REQUIRE === "all") throw new Error("needs root");
  return "needs root";
}
