import { nodeName, type ProcessAddress, type Topology } from "./topology.ts";

/** What became different, by full name. */
export interface TopologyChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

/** A member as the policy log names it. */
export interface NamedMember {
  readonly site: string;
  /** Its processes; empty when the log names none: they are as the configuration says. */
  readonly processes: readonly ProcessAddress[];
}

/** A topology that may change while this process runs: everybody who holds it sees the change. */
export interface LiveTopology {
  readonly topology: Topology;
  /**
   * Takes over a newer table of the configuration.
   * @throws Error in one line when it differs in what needs a restart: the cluster, or this process itself.
   */
  update(next: Topology): TopologyChange;
  /** Takes over the members that the policy log names: from then on the configuration's list of sites counts no more. */
  name(members: readonly NamedMember[]): void;
  /** Calls `listener` after the list of sites changed, until disposed. */
  subscribe(listener: () => void): Disposable;
}

export function createLiveTopology(first: Topology): LiveTopology {
  return new ChangingTopology(first);
}

class ChangingTopology implements LiveTopology {
  readonly topology: Topology;
  readonly #listeners = new Set<() => void>();
  #configured: Topology;
  #named: readonly NamedMember[] | undefined;
  #sites: readonly string[];
  #processes: readonly ProcessAddress[];

  constructor(first: Topology) {
    const { cluster, site, process } = first;
    this.#configured = first;
    this.#sites = first.sites;
    this.#processes = first.processes;
    const sites = (): readonly string[] => this.#sites;
    const processes = (): readonly ProcessAddress[] => this.#processes;
    this.topology = {
      ...{ cluster, site, process },
      get sites() {
        return sites();
      },
      get processes() {
        return processes();
      },
    };
  }

  update(next: Topology): TopologyChange {
    requireSameProcess(this.#configured, next);
    const change = compare(this.#configured.processes, next.processes);
    this.#configured = next;
    this.#combine();
    return change;
  }

  name(members: readonly NamedMember[]): void {
    this.#named = members;
    this.#combine();
  }

  subscribe(listener: () => void): Disposable {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  /** Lists are replaced only when they differ: whoever keeps one compares it by identity. */
  #combine(): void {
    const sites = this.#members();
    const processes = this.#processesOf(sites);
    if (JSON.stringify(processes) !== JSON.stringify(this.#processes)) this.#processes = processes;
    if (sites.join() === this.#sites.join()) return;
    this.#sites = sites;
    for (const listener of [...this.#listeners]) listener();
  }

  /** A site that is no member sees itself as one: what it does with the others is for them to refuse. */
  #members(): readonly string[] {
    const { site, sites } = this.#configured;
    const named = this.#named?.map((member) => member.site) ?? sites;
    return named.includes(site) ? named : [...named, site];
  }

  /** The configuration goes before what the log says: a site may reach another by a way of its own. */
  #processesOf(sites: readonly string[]): ProcessAddress[] {
    const configured = this.#configured.processes;
    const known = new Set(configured.map(({ site }) => site));
    const named = this.#named?.filter(({ site }) => !known.has(site)).flatMap(({ processes }) => processes) ?? [];
    return [...configured, ...named].filter(({ site }) => sites.includes(site));
  }
}

function requireSameProcess(current: Topology, next: Topology): void {
  for (const key of ["cluster", "site", "process"] as const) {
    if (current[key] !== next[key])
      throw new Error(`topology.${key} changed from ${current[key]} to ${next[key]}: restart this process`);
  }
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
