import type { LiveTopology, Membership, ProcessAddress } from "@meridian/cluster";
import { Role } from "@meridian/cluster";
import { membershipOf, type Policy } from "@meridian/policy";
import type { policyV1 } from "@meridian/wire";

/** The members as the policy log names them, told to everybody who holds the topology. */
export function followMembers(policy: Policy, live: LiveTopology): Membership & Disposable {
  const { state } = policy;
  const listeners = new Set<() => void>();
  let known = "";
  const take = (): void => {
    if (state.settings === undefined) return;
    const now = [...state.sites.values()].map(
      (one) => `${one.site} ${one.state} ${state.revisionOf(`member/${one.site}`)}`,
    );
    if (now.join() === known) return;
    known = now.join();
    live.name([...state.members].map((site) => ({ site, processes: processesOf(state.sites.get(site)) })));
    for (const listener of [...listeners]) listener();
  };
  take();
  const subscription = policy.subscribe(take);
  const stateOf = (site: string): string | undefined => {
    const member = state.sites.get(site);
    return member && membershipOf(member);
  };
  return {
    isDraining: (site) => stateOf(site) === "draining",
    hasLeft: (site) => stateOf(site) === "removed" || stateOf(site) === "expelled",
    refusedUntil: (site) => state.sites.get(site)?.refusedUntil ?? 0n,
    subscribe(listener) {
      const entry = (): void => listener();
      listeners.add(entry);
      return { [Symbol.dispose]: () => void listeners.delete(entry) };
    },
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  };
}

const ROLES: ReadonlySet<string> = new Set(Object.values(Role));

function processesOf(member: policyV1.Member | undefined): ProcessAddress[] {
  return (member?.processes ?? []).map(({ process, roles, grpc, bytes, edge, zone }) => ({
    site: member!.site,
    process,
    roles: roles.filter((role): role is Role => ROLES.has(role)),
    grpc,
    ...(bytes === "" ? {} : { bytes }),
    ...(edge === "" ? {} : { edge }),
    ...(zone === "" ? {} : { zone }),
  }));
}
