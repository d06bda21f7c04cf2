import { globSync } from "node:fs";
import { join } from "node:path";
import { type DevCommand, sendCommand } from "@meridian/dev/control";
import type { RegistryClient } from "../client/registry-client.ts";
import { failure } from "../exit-status.ts";
import { homeFolder } from "../home-folder.ts";
import type { ServerOptions } from "../program/command.ts";
import { runningCluster } from "../running-cluster.ts";
import { type MemberProcess, processesIn } from "./site-processes.ts";

/** The running dev cluster, as far as sites come and go there. */
export interface DevSites {
  /** Makes and starts a site; `wipe`: without what an earlier one of that name kept. */
  add(site: string, wipe: boolean): Promise<void>;
  /** Stops a site for good. */
  forget(site: string): Promise<void>;
  /** Where a site's processes are; empty when it was never made. */
  processes(site: string): MemberProcess[];
}

/** Undefined when the client talks to another cluster. */
export function devCluster(client: RegistryClient, options: ServerOptions): DevSites | undefined {
  if (!isDevCluster(client, options)) return undefined;
  return {
    add: (site, wipe) => send({ command: "site-add", site, wipe }, options),
    forget: async (site) => {
      const runs = runningCluster(options).sites.some(({ name }) => name === site);
      if (runs) await send({ command: "site-forget", site }, options);
    },
    processes(site) {
      const [config] = globSync(join(homeFolder(options), "sites", site, "*.yaml")).filter(
        (path) => !path.endsWith("secrets.yaml"),
      );
      return config === undefined ? [] : processesIn(config, site);
    },
  };
}

function isDevCluster(client: RegistryClient, options: ServerOptions): boolean {
  try {
    return runningCluster(options).sites.some(({ gateway }) => gateway === client.server);
  } catch {
    return false;
  }
}

async function send(command: DevCommand, options: ServerOptions): Promise<void> {
  try {
    await sendCommand(runningCluster(options).socket, command);
  } catch (error) {
    throw failure(error instanceof Error ? error.message : String(error), { cause: error });
  }
}
