import { clone, create } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { policyV1 } from "@meridian/wire";
import { checkProposal } from "./entry-key.ts";
import { membersAfter } from "./membership.ts";
import type { PolicyStore } from "./policy-store.ts";
import { type Epoch, epochFromWire, epochToWire, formatRevision, type Position } from "./position.ts";
import { quorumValue } from "./quorum.ts";
import { type EffectivePolicy, membersOf, type PolicyRuntime, StoreWriter } from "./replica.ts";

/** The format of entries that this version writes. */
const ENTRY_FORMAT = 1;

/** What became of a proposal. */
export interface ProposeOutcome {
  readonly revision: Position;
  /** True when the entry lost against another writer of its key: nothing changed. */
  readonly superseded: boolean;
}

/**
 * The policy log's one writer. It appends proposals, counts what members have fsynced, and makes entries effective
 * once a quorum holds them.
 */
export class PolicyHome {
  readonly store: PolicyStore;
  readonly effective: EffectivePolicy;
  readonly #runtime: PolicyRuntime;
  readonly #writer: StoreWriter;
  readonly #durable = new Map<string, number>();
  readonly #reportedAt = new Map<string, number>();
  /** Members that said, while this log was empty, that theirs is empty too. */
  readonly #empty = new Set<string>();
  #halted: string | undefined;
  /** Monotonic time at which a site that is no member asked for the log last. */
  readonly #knockedAt = new Map<string, number>();
  /** Members whose being ahead was logged. */
  readonly #reported = new Set<string>();
  #advancing: Promise<void> | undefined;
  /** Monotonic time until which a quorum counts as there: asked on every request, so not computed then. */
  #quorumUntil = Number.NEGATIVE_INFINITY;

  constructor(runtime: PolicyRuntime, store: PolicyStore, effective: EffectivePolicy, signal: AbortSignal) {
    this.#runtime = runtime;
    this.store = store;
    this.effective = effective;
    this.#writer = new StoreWriter(store, signal);
    this.#countQuorum();
  }

  /** Members whose durable positions count: those of the configuration until the log has named them all. */
  members(): readonly string[] {
    return membersOf(this.effective.state, this.#runtime.sites);
  }

  /** Whether a site may follow this log: members, and one that an entry makes a member which is not effective yet. */
  mayTail(site: string): boolean {
    if (this.members().includes(site)) return true;
    for (let seq = this.#commitSeq() + 1; seq <= this.store.lastSeq; seq++)
      if (this.#membersAfter(seq)?.includes(site)) return true;
    return false;
  }

  /** A site that may not follow the log asked for it: it is up, and reaches this home. */
  knocked(site: string): void {
    this.#knockedAt.set(site, this.#runtime.clock.monotonic());
  }

  /** True while enough members have reported lately to make an entry effective. */
  hasQuorum(): boolean {
    return this.#runtime.clock.monotonic() <= this.#quorumUntil;
  }

  /** True when what is effective here is the cluster's newest policy. */
  get isCurrent(): boolean {
    return this.#halted === undefined && this.hasQuorum();
  }

  /** Members that have not reported lately. */
  silentMembers(): string[] {
    const now = this.#runtime.clock.monotonic();
    return this.members().filter((site) => now - this.#heardAt(site) > this.#runtime.timing.silentMs);
  }

  /** Why this home takes no changes until an operator acts; undefined when nothing is wrong. */
  get halted(): string | undefined {
    return this.#halted;
  }

  /** Compares a member's last entry, as it says hello, with this log. */
  greet(site: string, last: Position | undefined): void {
    const own = this.store.last;
    if (!last) {
      if (!own) this.#empty.add(site);
      this.#durable.delete(site);
      this.effective.changes.emit();
      return;
    }
    // Never more than it says it still holds: it may have lost its log's tail.
    this.#durable.set(site, Math.min(last.seq, this.#durable.get(site) ?? 0));
    if (this.#isAhead(own, last)) {
      this.#halted = `the policy log of ${this.#runtime.site} has lost entries: ${site} holds up to ${formatRevision(last)}, this site only ${formatRevision(own)}. Restore the log of ${this.#runtime.site} from a backup`;
      if (!this.#reported.has(site)) this.#runtime.log.error(this.#halted);
      this.#reported.add(site);
    }
  }

  /** A member says what it has fsynced; undefined when that does not agree with this log. */
  report(site: string, durableSeq: number | undefined): void {
    this.#reportedAt.set(site, this.#runtime.clock.monotonic());
    if (durableSeq !== undefined) this.#durable.set(site, Math.max(durableSeq, this.#durable.get(site) ?? 0));
    this.#countQuorum();
    if (this.isCurrent) this.effective.freshness.mark(this.#runtime.clock.monotonic());
    this.effective.changes.emit();
    this.advance();
  }

  /** Makes effective what a quorum holds. Runs in the background; a failure is tried again at the next heartbeat. */
  advance(): void {
    if (this.#advancing || this.#target() <= this.#commitSeq()) return;
    this.#advancing = this.#advance()
      .catch((error: unknown) => this.#runtime.log.warn("policy commit not stored, will try again", { error }))
      .finally(() => {
        this.#advancing = undefined;
      });
  }

  /** Resolves when no commit is being stored. */
  async settled(): Promise<void> {
    await this.#advancing;
  }

  /** Writes down when a quorum was last heard, for the next start. */
  async storeFreshAt(ms: number): Promise<void> {
    await this.#writer.run(() => this.store.setFreshAt(ms));
  }

  /**
   * Appends an entry and answers when it is effective or lost.
   * @throws ContentError `unavailable` when a quorum is not there (nothing changed), or went away meanwhile (outcome unknown).
   */
  async propose(entry: policyV1.Entry, signal?: AbortSignal): Promise<ProposeOutcome> {
    checkProposal(entry);
    let seq = this.store.seqOfOperation(entry.opId);
    if (seq === undefined) {
      this.#checkMembership(entry);
      await this.#awaitQuorum(signal);
      seq = await this.#writer.run(() => this.#append(entry));
      this.effective.changes.emit();
      this.advance();
    }
    if (seq === undefined) return { revision: this.#position(), superseded: true };
    return this.#awaitEffective(seq, signal);
  }

  /**
   * Members change one at a time, and none whose consent is needed may be away: an entry that cannot become effective
   * would hold up every later one.
   * @throws ContentError `precondition`, `conflict`, or `unavailable`: nothing was changed.
   */
  #checkMembership(entry: policyV1.Entry): void {
    const after = membersAfter(this.effective.state, entry);
    if (after === undefined || entry.doc.case !== "member") return;
    const { site, acceptLoss } = entry.doc.value;
    const home = this.#runtime.site;
    if (!after.includes(home))
      throw new ContentError(
        ContentErrorKind.precondition,
        `${home} is the home of the policy log: it stays a member as long as it is; nothing was changed`,
      );
    const other = this.#pendingMember();
    if (other !== undefined && !(other === site && acceptLoss))
      throw new ContentError(
        ContentErrorKind.conflict,
        `members change one at a time, and the change of ${other} is not effective yet; nothing was changed`,
      );
    const before = this.members();
    if (after.includes(site) && !before.includes(site) && !this.#isHeard(site, this.#knockedAt))
      throw new ContentError(
        ContentErrorKind.unavailable,
        `${site} does not ask ${home} for the policy log: start it first, with a configuration whose topology.sites begins with ${home} and names ${site}; nothing was changed`,
      );
    if (acceptLoss) return;
    for (const set of [before, after]) {
      const away = set.length === 2 ? set.filter((one) => !this.#isHeard(one, this.#reportedAt, this.#knockedAt)) : [];
      if (away.length > 0)
        throw new ContentError(
          ContentErrorKind.unavailable,
          `of two members both have to hold a change of members, and ${away.join()} cannot be reached; nothing was changed. --accept-loss goes on without it: what only it knows of the policy is lost`,
        );
    }
  }

  #isHeard(site: string, ...heard: readonly ReadonlyMap<string, number>[]): boolean {
    if (site === this.#runtime.site) return true;
    const since = this.#runtime.clock.monotonic() - this.#runtime.timing.silentMs;
    return heard.some((at) => (at.get(site) ?? Number.NEGATIVE_INFINITY) >= since);
  }

  /** The site whose change of membership is written and not effective. */
  #pendingMember(): string | undefined {
    for (let seq = this.#commitSeq() + 1; seq <= this.store.lastSeq; seq++) {
      const doc = this.store.mirror.at(seq)?.doc;
      if (doc?.case === "member" && this.#membersAfter(seq) !== undefined) return doc.value.site;
    }
    return undefined;
  }

  #membersAfter(seq: number): readonly string[] | undefined {
    const entry = this.store.mirror.at(seq);
    if (entry === undefined || Number(entry.baseRev) !== this.effective.state.revisionOf(entry.key)) return undefined;
    return membersAfter(this.effective.state, entry);
  }

  async #append(entry: policyV1.Entry): Promise<number | undefined> {
    const known = this.store.seqOfOperation(entry.opId);
    if (known !== undefined) return known;
    // The key's revision only grows: this one has lost already, no entry is needed to find out.
    if (this.effective.state.revisionOf(entry.key) !== Number(entry.baseRev)) return undefined;
    const position = { epoch: this.#epoch(), seq: this.store.lastSeq + 1 };
    const stamped = clone(policyV1.EntrySchema, entry);
    stamped.format = ENTRY_FORMAT;
    stamped.epoch = create(policyV1.EpochSchema, epochToWire(position.epoch));
    stamped.seq = BigInt(position.seq);
    stamped.atMs = BigInt(Math.floor(this.#runtime.clock.now()));
    await this.store.append([stamped], { exclusive: true });
    return position.seq;
  }

  async #awaitQuorum(signal: AbortSignal | undefined): Promise<void> {
    const { timers, timing } = this.#runtime;
    await this.effective.changes.until(() => this.#halted !== undefined || this.#refusal() === undefined, {
      timers,
      timeoutMs: timing.quorumWaitMs,
      signal,
    });
    const refusal = this.#halted ?? this.#refusal();
    if (refusal) throw new ContentError(ContentErrorKind.unavailable, refusal);
  }

  #refusal(): string | undefined {
    const { site, sites } = this.#runtime;
    if (!this.hasQuorum())
      return `policy home ${site} has no majority of members: ${this.silentMembers().join(", ")} cannot be reached; nothing was changed`;
    // An empty log may be a lost one: only all other members together can tell.
    const unasked = sites.filter((other) => other !== site && !this.#empty.has(other));
    if (this.store.last === undefined && unasked.length > 0)
      return `policy home ${site} starts with an empty log and waits for ${unasked.join(", ")} to confirm that the cluster is new`;
    return undefined;
  }

  async #awaitEffective(seq: number, signal: AbortSignal | undefined): Promise<ProposeOutcome> {
    const { timers, timing, site } = this.#runtime;
    const { state, changes } = this.effective;
    const done = await changes.until(() => state.seq >= seq, { timers, timeoutMs: timing.commitWaitMs, signal });
    if (!done)
      throw new ContentError(
        ContentErrorKind.unavailable,
        `policy home ${site} lost its majority of members before the change was effective: it may still take effect, trying again is safe`,
      );
    return { revision: { epoch: this.#position().epoch, seq }, superseded: state.wasSuperseded(seq) };
  }

  async #advance(): Promise<void> {
    while (this.#target() > this.#commitSeq()) {
      await this.#writer.run(async () => {
        const seq = this.#target();
        const entry = this.store.mirror.at(seq);
        if (!entry || seq <= this.#commitSeq()) return;
        await this.store.setCommit({ epoch: epochFromWire(entry.epoch), seq });
        this.effective.advance(this.store.mirror);
        this.#countQuorum();
      });
    }
  }

  /** Up to where entries may become effective now. A change of members ends the step: the next is counted by the new ones. */
  #target(): number {
    const held = quorumValue(this.members(), this.#runtime.site, (site) => this.#durableOf(site));
    for (let seq = this.#commitSeq() + 1; seq <= held; seq++) {
      const after = this.#membersAfter(seq);
      if (after !== undefined) return this.#mayChangeMembers(seq, after) ? seq : seq - 1;
      const kind = this.store.mirror.at(seq)?.key.split("/", 1)[0];
      if (seq < held && (kind === "member" || kind === "settings")) return seq;
    }
    return held;
  }

  /** True when majorities of the old and of the new members hold the entry; of two both. */
  #mayChangeMembers(seq: number, after: readonly string[]): boolean {
    const lossAccepted = this.#isLossAccepted(seq);
    return [this.members(), after].every((members) =>
      members.length === 2 && !lossAccepted
        ? members.every((site) => this.#durableOf(site) >= seq)
        : quorumValue(members, this.#runtime.site, (site) => this.#durableOf(site)) >= seq,
    );
  }

  /** The operator may say so in a later entry for the same site, when the first one does not become effective. */
  #isLossAccepted(seq: number): boolean {
    const key = this.store.mirror.at(seq)?.key;
    for (let later = seq; later <= this.store.lastSeq; later++) {
      const entry = this.store.mirror.at(later);
      if (entry?.key === key && entry?.doc.case === "member" && entry.doc.value.acceptLoss) return true;
    }
    return false;
  }

  #countQuorum(): void {
    const oldest = quorumValue(this.members(), this.#runtime.site, (site) => this.#heardAt(site));
    this.#quorumUntil = oldest + this.#runtime.timing.silentMs;
  }

  #commitSeq(): number {
    return this.store.mirror.commit?.seq ?? 0;
  }

  #durableOf(site: string): number {
    return site === this.#runtime.site ? this.store.lastSeq : (this.#durable.get(site) ?? 0);
  }

  #heardAt(site: string): number {
    if (site === this.#runtime.site) return Number.POSITIVE_INFINITY;
    return this.#reportedAt.get(site) ?? Number.NEGATIVE_INFINITY;
  }

  #isAhead(own: Position | undefined, last: Position): boolean {
    if (!own) return true;
    if (last.epoch.number !== own.epoch.number) return last.epoch.number > own.epoch.number;
    return last.epoch.site === own.epoch.site && last.seq > own.seq;
  }

  #epoch(): Epoch {
    return this.store.last?.epoch ?? { number: 1, site: this.#runtime.site };
  }

  #position(): Position {
    return this.effective.state.position ?? { epoch: this.#epoch(), seq: 0 };
  }
}
