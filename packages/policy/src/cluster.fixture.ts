import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { type EventLogs, openEmbeddedLogs } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import { createRpcServer, type ServiceClient } from "@meridian/rpc";
import { createLogger, createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import type { PolicyDoc } from "./entry-key.ts";
import { openPolicy, type Policy, type PolicyOptions } from "./policy.ts";
import type { PolicyTiming } from "./timing.ts";

export const SITES = ["eu", "us", "ap"] as const;
export const HOME = "eu";
export const clock = createSystemClock();
export const log = createLogger({ level: "error" });
/** For tests that make errors on purpose. */
export const silentLog = createLogger({ level: "error", write: () => {} });

/** The rhythm of tests: a hundredth of the real one. */
export const FAST: PolicyTiming = {
  heartbeatMs: 20,
  silentMs: 300,
  quorumWaitMs: 600,
  commitWaitMs: 4_000,
  retryMs: 40,
};

/** Resolves when the condition holds; fails after 5 s. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await pause(5);
  }
}

/** A user's document. */
export function userDoc(name: string, passwordHash = "hash", disabled = false): PolicyDoc {
  return { case: "user", value: create(policyV1.UserSchema, { name, passwordHash, disabled }) };
}

/** A grant's document. */
export function grantDoc(principal: string, repositoryPrefix: string, role: policyV1.Role): PolicyDoc {
  return { case: "grant", value: create(policyV1.GrantSchema, { principal, repositoryPrefix, role }) };
}

interface RunningSite {
  readonly logs: EventLogs;
  readonly policy: Policy;
  readonly client: ServiceClient<typeof policyV1.PolicyLogService>;
}

/** Replicas of a policy log in one process, with links that can be cut and sites that can be stopped. */
export class PolicyCluster implements AsyncDisposable {
  readonly #folder: string;
  readonly #sites: readonly string[];
  readonly #running = new Map<string, RunningSite>();
  readonly #cuts = new Map<string, AbortController>();

  constructor(folder: string, sites: readonly string[]) {
    this.#folder = folder;
    this.#sites = sites;
  }

  static async create(sites: readonly string[] = SITES): Promise<PolicyCluster> {
    return new PolicyCluster(await mkdtemp(join(tmpdir(), "meridian-policy-")), sites);
  }

  policy(site: string): Policy {
    return this.#at(site).policy;
  }

  logs(site: string): EventLogs {
    return this.#at(site).logs;
  }

  async start(site: string, options: Partial<PolicyOptions> = {}): Promise<Policy> {
    const logs = await this.openLogs(site);
    const policy = await openPolicy({ ...this.options(site, logs), ...options });
    const server = createRpcServer({ log });
    server.register(policyV1.PolicyLogService, policy.service!);
    this.#running.set(site, { logs, policy, client: server.local(policyV1.PolicyLogService)! });
    return policy;
  }

  /** The log server of a site that does not run. */
  openLogs(site: string): Promise<EventLogs> {
    const path = join(this.#folder, site);
    return openEmbeddedLogs({ path, site, writer: `${site}/site`, clock, random: systemRandom });
  }

  /** Options of another process of the site. */
  options(site: string, logs: EventLogs): PolicyOptions {
    return {
      site,
      sites: this.#sites,
      logs,
      clock,
      timers: systemTimers,
      random: systemRandom,
      log,
      policyHome: () => this.#homeClient(site),
      role: "replica",
      maxStalenessMs: 30_000,
      maxPolicyAgeMs: 86_400_000,
      timing: FAST,
    };
  }

  async startAll(options: Partial<PolicyOptions> = {}): Promise<void> {
    for (const site of this.#sites) await this.start(site, options);
  }

  async stop(site: string): Promise<void> {
    const { logs, policy } = this.#at(site);
    this.#running.delete(site);
    await policy[Symbol.asyncDispose]();
    await logs[Symbol.asyncDispose]();
  }

  /** Cuts a member's link to the home: what is open ends, nothing new passes. */
  cut(site: string): void {
    const cut = this.#cutOf(site);
    cut.abort(new ContentError("unavailable", "the link is cut"));
  }

  heal(site: string): void {
    this.#cuts.set(site, new AbortController());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const site of [...this.#running.keys()]) await this.stop(site);
    await rm(this.#folder, { recursive: true });
  }

  #at(site: string): RunningSite {
    const running = this.#running.get(site);
    if (!running) throw new Error(`${site} does not run`);
    return running;
  }

  #cutOf(site: string): AbortController {
    const cut = this.#cuts.get(site) ?? new AbortController();
    this.#cuts.set(site, cut);
    return cut;
  }

  #homeClient(from: string): ServiceClient<typeof policyV1.PolicyLogService> {
    const home = this.#running.get(this.#sites[0]!);
    const cut = this.#cutOf(from).signal;
    if (!home || cut.aborted) throw new ContentError("unavailable", "connection refused");
    const { client } = home;
    return {
      tail: (requests, { signal = new AbortController().signal } = {}) =>
        client.tail(requests, { signal: AbortSignal.any([signal, cut]) }),
      propose: (request, { signal = new AbortController().signal, ...options } = {}) =>
        client.propose(request, { ...options, signal: AbortSignal.any([signal, cut]) }),
    };
  }
}
