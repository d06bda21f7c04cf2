import { nodeName, type ProcessAddress, type Topology } from "./topology.ts";

/** What became different, by full name. */
export interface TopologyChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

/** A topology whose processes may change while this one runs: everybody who holds it sees the change. */
export interface LiveTopology {
  readonly topology: Topology;
  /**
   * Takes over the processes of a newer table.
   * @throws Error in one line when it differs in what needs a restart: the cluster, the sites, or this process itself.
   */
  update(next: Topology): TopologyChange;
}

export function createLiveTopology(first: Topology): LiveTopology {
  let processes = first.processes;
  const { cluster, site, process, sites } = first;
  const topology: Topology = {
    ...{ cluster, site, process, sites },
    get processes() {
      return processes;
    },
  };
  return {
    topology,
    update(next) {
      requireSameProcess(topology, next);
      const change = compare(processes, next.processes);
      processes = next.processes;
      return change;
    },
  };
}

function requireSameProcess(current: Topology, next: Topology): void {
  for (const key of ["cluster", "site", "process"] as const) {
    if (current[key] !== next[key])
      throw new Error(`topology.${key} changed from ${current[key]} to ${next[key]}: restart this process`);
  }
  if (current.sites.join() !== next.sites.join()) throw new Error("topology.sites changed: restart this process");
  const own = ({ processes, site, process }: Topology): string =>
    JSON.stringify(
      processes.filter((one) => one.site === site && one.process === process).map(({ zone: _zone, ...rest }) => rest),
    );
  if (own(current) !== own(next)) throw new Error("this process's own entry changed: restart it");
}

function compare(before: readonly ProcessAddress[], after: readonly ProcessAddress[]): TopologyChange {
  const index = (list: readonly ProcessAddress[]): Map<string, string> =>
    new Map(list.map((address) => [nodeName(address), JSON.stringify(address)]));
  const [old, now] = [index(before), index(after)];
  return {
    added: [...now.keys()].filter((name) => !old.has(name)),
    removed: [...old.keys()].filter((name) => !now.has(name)),
    changed: [...now].filter(([name, text]) => old.has(name) && old.get(name) !== text).map(([name]) => name),
  };
}
