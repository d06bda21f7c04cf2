import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { usageError } from "../exit-status.ts";

/** Where a process of a site is, as its configuration says. */
export interface MemberProcess {
  readonly process: string;
  readonly roles: readonly string[];
  readonly grpc: string;
  readonly bytes?: string;
  readonly edge?: string;
  readonly zone?: string;
}

/** The processes of a site that a configuration file (`meridian serve --config`) lists. @throws CommandError (exit code 2). */
export function processesIn(path: string, site: string): MemberProcess[] {
  const { topology } = read(path) as { topology?: { processes?: (MemberProcess & { site: string })[] } };
  const processes = topology?.processes?.filter((one) => one.site === site) ?? [];
  if (processes.length === 0) throw usageError(`${path} lists no process of site ${site} in topology.processes`);
  return processes.map(({ process, roles, grpc, bytes, edge, zone }) => ({
    ...{ process, roles, grpc },
    ...(bytes === undefined ? {} : { bytes }),
    ...(edge === undefined ? {} : { edge }),
    ...(zone === undefined ? {} : { zone }),
  }));
}

function read(path: string): unknown {
  try {
    return parse(readFileSync(path, "utf8")) ?? {};
  } catch (cause) {
    throw usageError(`the configuration ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
