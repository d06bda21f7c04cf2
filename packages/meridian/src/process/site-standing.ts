import { existsSync, writeFileSync } from "node:fs";
import { type Membership, type Peers, Role, type Topology } from "@meridian/cluster";
import type { startGateway } from "@meridian/gateway";
import { membershipOf, type Policy } from "@meridian/policy";
import type { Logger, Timers } from "@meridian/runtime";
import { replicationV1 } from "@meridian/wire";

type SiteMembers = NonNullable<Parameters<typeof startGateway>[1]["members"]>;

/** What {@link openSiteStanding} needs. */
export interface SiteStandingOptions {
  readonly policy: Policy;
  readonly membership: Membership;
  readonly topology: Topology;
  readonly peers: Peers;
  /** Written once the site has copied the records that there were when it joined: it need not wait for them again. */
  readonly joinedFile: string;
  /** Creation reading of the site's own log. */
  readonly ownLogCreated: bigint;
  readonly timers: Timers;
  readonly log: Logger;
}

const POLL_MS = 500;
const TIMEOUT_MS = 2_000;

/** How this site stands to the cluster, and what its gateway serves because of that. Disposed, it looks no more. */
export function openSiteStanding(options: SiteStandingOptions): SiteMembers & Disposable {
  return new SiteStanding(options);
}

class SiteStanding implements SiteMembers, Disposable {
  refusal: string | undefined;
  closed: string | undefined;
  readonly #options: SiteStandingOptions;
  readonly #open = new DisposableStack();
  #joined: boolean;
  #asking = false;

  constructor(options: SiteStandingOptions) {
    this.#options = options;
    this.#joined = existsSync(options.joinedFile);
    const { policy, membership, timers } = options;
    this.#open.use(policy.subscribe(() => this.#look()));
    this.#open.use(membership.subscribe(() => this.#look()));
    this.#open.use(timers.every(POLL_MS, () => void this.#join()));
    this.#look();
    void this.#join();
  }

  get policyHome(): string {
    return this.#options.policy.home;
  }

  all(): ReturnType<SiteMembers["all"]> {
    const { state, members } = this.#options.policy;
    if (state.settings === undefined) return members.map((site) => ({ site, membership: "active" }));
    const epoch = state.revision.slice(0, state.revision.indexOf("."));
    return [...state.sites.values()].map((member) => ({
      site: member.site,
      membership: membershipOf(member),
      revision: `${epoch}.${state.revisionOf(`member/${member.site}`)}`,
      ...(member.copied && {
        copied: { incarnation: member.copied.incarnation, sequence: Number(member.copied.sequence) },
      }),
    }));
  }

  isDraining(site: string): boolean {
    return this.#options.membership.isDraining(site);
  }

  [Symbol.dispose](): void {
    this.#open.dispose();
  }

  #look(): void {
    const { policy, topology, ownLogCreated } = this.#options;
    const { site } = topology;
    const member = policy.state.sites.get(site);
    this.closed = member?.closed === true ? `site ${site} is about to leave the cluster` : undefined;
    this.refusal = this.#refusal(site, policy.exclusion, member?.refusedUntil ?? 0n, ownLogCreated);
  }

  #refusal(site: string, exclusion: Policy["exclusion"], refusedUntil: bigint, created: bigint): string | undefined {
    if (exclusion !== undefined)
      return `site ${site} is no member of the cluster any more: it was ${exclusion.state} at policy revision ${exclusion.revision}`;
    if (created <= refusedUntil)
      return `site ${site} has data from before it ceased to be a member, which the others refuse: wipe it, and start it anew`;
    if (this.#isJoining()) return `site ${site} is joining: it copies the records of the other sites first`;
    return undefined;
  }

  /** Members of the first hour have nothing to copy: the log names no address of theirs. */
  #isJoining(): boolean {
    const { policy, topology } = this.#options;
    const member = policy.state.sites.get(topology.site);
    return !this.#joined && (member?.processes.length ?? 0) > 0;
  }

  async #join(): Promise<void> {
    if (this.#asking || !this.#isJoining()) return;
    this.#asking = true;
    try {
      this.#joined = await this.#hasCopied();
      if (!this.#joined) return;
      writeFileSync(this.#options.joinedFile, "");
      this.#options.log.info("the records of the other sites are here: this site serves now");
      this.#look();
    } catch (error) {
      this.#options.log.debug("no replicator says how far this site is", { error });
    } finally {
      this.#asking = false;
    }
  }

  async #hasCopied(): Promise<boolean> {
    const { peers, topology } = this.#options;
    for (const address of peers.processes(Role.replicator, topology.site)) {
      const client = peers.client(replicationV1.ReplicationService, address);
      const { joined } = await client.progress({}, { timeoutMs: TIMEOUT_MS });
      if (joined) return true;
    }
    return false;
  }
}
