import { create } from "@bufbuild/protobuf";
import type { EventLogs } from "@meridian/eventlog";
import { ContentError, ContentErrorKind, isContentError } from "@meridian/oci";
import type { CallContext, ServiceImpl } from "@meridian/rpc";
import type { Clock, HealthCheck, Logger, Random, Timers } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import { publishFreshness } from "./bulletin-freshness.ts";
import { type AnonymousAccess, GrantDecider } from "./decider.ts";
import type { Decider } from "./decision.ts";
import type { PolicyDoc } from "./entry-key.ts";
import { LogMirror } from "./log-mirror.ts";
import type { Exclusion } from "./membership.ts";
import { PolicyHome, type ProposeOutcome } from "./policy-home.ts";
import { type PolicyLogClient, PolicyMember } from "./policy-member.ts";
import { POLICY_STREAM, PolicyReader } from "./policy-reader.ts";
import { PolicyStore, readToHead } from "./policy-store.ts";
import { positionFromWire, positionToWire } from "./position.ts";
import { EffectivePolicy, membersOf, type PolicyRuntime } from "./replica.ts";
import type { PolicyState } from "./state.ts";
import { TailService } from "./tail-service.ts";
import { DEFAULT_TIMING, type PolicyTiming } from "./timing.ts";

/** How often a replica writes down how fresh it is. */
const STORE_FRESH_EVERY_MS = 60_000;
/** The deadline of a change forwarded to the home: longer than the home's own waits. */
const FORWARD_TIMEOUT_MS = 8_000;
/** How long a forwarded change waits to be folded here too before it is answered. */
const LOCAL_FOLD_WAIT_MS = 2_000;

export interface PolicyOptions {
  readonly site: string;
  /** Initial members; the first is the home. */
  readonly sites: readonly string[];
  /** The site's own log server. */
  readonly logs: EventLogs;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  /** A caller of the home's auth process; not asked at the home itself. Undefined while it is not known. */
  readonly policyHome?: () => PolicyLogClient | undefined;
  /** Exactly one process of a site, the one with the auth role, is its replica and writes the site's log. */
  readonly role: "replica" | "reader";
  /** Older than this, the policy is stale: an alarm. Milliseconds. */
  readonly maxStalenessMs: number;
  /** Older than this, nothing is allowed by it any more. Milliseconds. */
  readonly maxPolicyAgeMs: number;
  /** What requests without credentials may do; "off" by default. Anything else is for a development cluster on loopback. */
  readonly anonymous?: AnonymousAccess;
  readonly timing?: Partial<PolicyTiming>;
}

/** A change of one key of the policy. */
export interface PolicyChange {
  readonly key: string;
  readonly doc: PolicyDoc;
  /** The key's revision that the writer has seen; 0 for a new key. See {@link PolicyState.revisionOf}. */
  readonly baseRev: number;
  /** Who asks for it. */
  readonly who: string;
  /** Chosen at random when absent. Give the same again to find out what became of a change whose answer was lost. */
  readonly opId?: string;
}

/** The policy of the cluster as one process knows it. */
export interface Policy extends AsyncDisposable {
  readonly site: string;
  /** The site whose replica takes changes. */
  readonly home: string;
  /** What is effective here; the same object all the time, it moves on. */
  readonly state: PolicyState;
  readonly decider: Decider;
  /** The member sites: the configured ones until the log names them. */
  readonly members: readonly string[];
  /** How this site ceased to be a member; undefined while it is one, or never was. */
  readonly exclusion: Exclusion | undefined;
  /** True when the policy is older than `maxPolicyAgeMs`. */
  readonly expired: boolean;
  readonly checks: readonly HealthCheck[];
  /** The service that a replica offers to other sites; undefined in a reader. Callers are checked by their certificate's site. */
  readonly service: ServiceImpl<typeof policyV1.PolicyLogService> | undefined;
  /** Milliseconds since this site sent the newest word that the home answered; Infinity when it never did. */
  ageMs(): number;
  /**
   * Makes a change, here at the home or forwarded to it, and answers when it is effective, or lost to another writer.
   * @throws ContentError `unavailable` when the home or its majority is away, or in a reader.
   */
  propose(change: PolicyChange, options?: { signal?: AbortSignal }): Promise<ProposeOutcome>;
  /** Calls `listener` after each change of the effective policy (and, in a replica, of what is known about members). */
  subscribe(listener: () => void): Disposable;
}

/**
 * Opens this process's view of the policy log and keeps it going. Resolves when what the site's log holds is folded.
 * @throws ContentError `unavailable` when the site's log cannot be read.
 */
export async function openPolicy(options: PolicyOptions): Promise<Policy> {
  const home = options.sites[0];
  if (home === undefined || !options.sites.includes(options.site))
    throw new ContentError(ContentErrorKind.invalid, `site ${options.site} is not among the members of the cluster`);
  const runtime: PolicyRuntime = { ...options, timing: { ...DEFAULT_TIMING, ...options.timing } };
  const stop = new AbortController();
  const effective = new EffectivePolicy(options.clock);
  const running = await start(options, runtime, home, effective, stop.signal);
  return new OpenPolicy({ options, runtime, home, effective, running, stop });
}

/** What runs in the background, by role. */
interface Running {
  readonly home?: PolicyHome;
  readonly tails?: TailService;
  readonly member?: PolicyMember;
  readonly done: Promise<void>;
}

async function start(
  options: PolicyOptions,
  runtime: PolicyRuntime,
  home: string,
  effective: EffectivePolicy,
  signal: AbortSignal,
): Promise<Running> {
  const openLog = () => options.logs.open(POLICY_STREAM);
  if (options.role === "reader") {
    const mirror = new LogMirror();
    await readToHead(await openLog(), mirror, signal);
    adopt(effective, mirror);
    return { done: new PolicyReader(runtime, options.logs, effective).run(signal) };
  }
  const store = await PolicyStore.open(openLog, signal);
  adopt(effective, store.mirror);
  if (options.site === home) {
    const policyHome = new PolicyHome(runtime, store, effective, signal);
    policyHome.advance();
    return { home: policyHome, tails: new TailService(runtime, policyHome), done: policyHome.settled() };
  }
  const member = new PolicyMember(runtime, store, effective, options.policyHome ?? (() => undefined), signal);
  return { member, done: member.run(signal) };
}

function adopt(effective: EffectivePolicy, mirror: LogMirror): void {
  effective.advance(mirror);
  if (mirror.freshAtMs !== undefined) effective.freshness.restore(mirror.freshAtMs);
}

class OpenPolicy implements Policy {
  readonly site: string;
  readonly home: string;
  readonly decider: Decider;
  readonly checks: readonly HealthCheck[];
  readonly service: ServiceImpl<typeof policyV1.PolicyLogService> | undefined;
  readonly #options: PolicyOptions;
  readonly #runtime: PolicyRuntime;
  readonly #effective: EffectivePolicy;
  readonly #running: Running;
  readonly #stop: AbortController;
  readonly #beat: Disposable;
  #expired = false;
  #stale = false;
  #storedFreshAt = Number.NEGATIVE_INFINITY;
  #storing: Promise<void> | undefined;

  constructor(parts: {
    options: PolicyOptions;
    runtime: PolicyRuntime;
    home: string;
    effective: EffectivePolicy;
    running: Running;
    stop: AbortController;
  }) {
    this.#options = parts.options;
    this.#runtime = parts.runtime;
    this.#effective = parts.effective;
    this.#running = parts.running;
    this.#stop = parts.stop;
    this.site = parts.options.site;
    this.home = parts.home;
    this.decider = new GrantDecider(this, parts.options.anonymous ?? "off");
    this.checks = [{ name: "policy", check: () => this.#check() }];
    this.service = parts.options.role === "replica" ? this.#createService() : undefined;
    this.#beat = parts.runtime.timers.every(parts.runtime.timing.heartbeatMs, () => this.#tick());
    this.#tick();
  }

  get state(): PolicyState {
    return this.#effective.state;
  }

  get members(): readonly string[] {
    return membersOf(this.state, this.#runtime.sites);
  }

  get exclusion(): Exclusion | undefined {
    return this.#effective.exclusionOf(this.site);
  }

  /** Closing may take a heartbeat, opening again takes nothing. */
  get expired(): boolean {
    // A site that is no member any more serves nobody but an administrator who salvages what only it has.
    return this.#expired && this.exclusion === undefined && this.ageMs() > this.#maxAgeMs();
  }

  ageMs(): number {
    return this.#running.home?.isCurrent ? 0 : this.#effective.freshness.ageMs();
  }

  subscribe(listener: () => void): Disposable {
    return this.#effective.changes.subscribe(listener);
  }

  async propose(change: PolicyChange, options: { signal?: AbortSignal } = {}): Promise<ProposeOutcome> {
    const entry = create(policyV1.EntrySchema, {
      key: change.key,
      doc: change.doc,
      baseRev: BigInt(change.baseRev),
      who: change.who,
      opId: change.opId ?? Buffer.from(this.#runtime.random.bytes(16)).toString("hex"),
    });
    return this.#propose(entry, options.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#beat[Symbol.dispose]();
    await this.#storing;
    this.#storeFreshness(this.ageMs(), 1);
    await this.#storing;
    this.#stop.abort();
    this.#running.tails?.close();
    await this.#running.done;
    await this.#running.home?.settled();
  }

  async #propose(entry: policyV1.Entry, signal: AbortSignal | undefined): Promise<ProposeOutcome> {
    if (this.#running.home) return this.#running.home.propose(entry, signal);
    if (!this.#running.member)
      throw new ContentError(ContentErrorKind.unavailable, "policy changes go through the site's auth process");
    const outcome = await this.#forward(entry, signal);
    const { timers } = this.#runtime;
    await this.#effective.changes.until(() => this.state.seq >= outcome.revision.seq, {
      timers,
      timeoutMs: LOCAL_FOLD_WAIT_MS,
      signal,
    });
    return outcome;
  }

  async #forward(entry: policyV1.Entry, signal: AbortSignal | undefined): Promise<ProposeOutcome> {
    try {
      const client = this.#options.policyHome?.();
      if (!client) throw new ContentError(ContentErrorKind.unavailable, "its address is not known");
      const answer = await client.propose({ entry }, { timeoutMs: FORWARD_TIMEOUT_MS, ...(signal ? { signal } : {}) });
      const revision = positionFromWire(answer.revision);
      if (!revision) throw new ContentError(ContentErrorKind.unavailable, "it answered without a revision");
      return { revision, superseded: answer.superseded };
    } catch (error) {
      if (!isContentError(error, ContentErrorKind.unavailable)) throw error;
      // A home that answers says itself what is wrong.
      const message = this.#running.member?.reachesHome
        ? error.message
        : `policy home ${this.home} cannot be reached from ${this.site}`;
      throw new ContentError(ContentErrorKind.unavailable, message, { cause: error });
    }
  }

  #createService(): ServiceImpl<typeof policyV1.PolicyLogService> {
    const { tails, home: writer } = this.#running;
    const elsewhere = (): ContentError =>
      new ContentError(ContentErrorKind.fenced, `${this.site} is not the policy home; ${this.home} is`);
    return {
      tail: (requests: AsyncIterable<policyV1.TailRequest>, context: CallContext) => {
        if (!tails) throw elsewhere();
        return tails.tail(requests, context);
      },
      // A change is forwarded once, by the site that was asked: two sites that disagree about the home cannot loop.
      propose: async ({ entry }: policyV1.ProposeRequest, context: CallContext) => {
        if (!writer) throw elsewhere();
        if (!entry) throw new ContentError(ContentErrorKind.invalid, "a proposal needs an entry");
        const { revision, superseded } = await writer.propose(entry, context.signal);
        return { revision: positionToWire(revision)!, superseded };
      },
    };
  }

  #tick(): void {
    const age = this.ageMs();
    const { settings } = this.state;
    this.#expired = age > this.#maxAgeMs();
    this.#tellStaleness(age, Number(settings?.maxStalenessMs ?? this.#options.maxStalenessMs));
    this.#running.home?.advance();
    if (this.#options.role !== "replica") return;
    publishFreshness(this.#options.logs.bulletin, this.#effective, age);
    this.#storeFreshness(age, STORE_FRESH_EVERY_MS);
  }

  #maxAgeMs(): number {
    return Number(this.state.settings?.maxPolicyAgeMs ?? this.#options.maxPolicyAgeMs);
  }

  #tellStaleness(age: number, limit: number): void {
    const stale = age > limit;
    if (stale === this.#stale) return;
    this.#stale = stale;
    const { log } = this.#runtime;
    const fields = { ageMs: Number.isFinite(age) ? Math.round(age) : undefined, revision: this.state.revision };
    if (stale) log.warn("the policy is stale: its home has not been heard of", fields);
    else log.info("the policy is fresh again", fields);
  }

  /** Writes down, now and then, when the home was last heard of: nothing while that did not move on. */
  #storeFreshness(age: number, everyMs: number): void {
    const freshAt = this.#runtime.clock.now() - age;
    const writer = this.#running.home ?? this.#running.member;
    if (!writer || !Number.isFinite(age) || this.#storing || freshAt - this.#storedFreshAt < everyMs) return;
    this.#storedFreshAt = freshAt;
    this.#storing = writer
      .storeFreshAt(freshAt)
      .catch((error: unknown) => this.#runtime.log.debug("freshness of the policy not stored", { error }))
      .finally(() => {
        this.#storing = undefined;
      });
  }

  async #check(): Promise<void> {
    if (this.state.seq === 0) throw new Error(`no policy yet: waiting for the policy home ${this.home}`);
    if (this.expired)
      throw new Error(`the policy known here (${this.state.revision}) is too old: home ${this.home} was not heard of`);
  }
}
