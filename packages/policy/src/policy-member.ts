import type { MessageInitShape } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind, isContentError } from "@meridian/oci";
import { RequestQueue, type ServiceClient } from "@meridian/rpc";
import type { policyV1 } from "@meridian/wire";
import { epochAt } from "./log-mirror.ts";
import { exclusionFromWire } from "./membership.ts";
import type { PolicyStore } from "./policy-store.ts";
import {
  compareEpochs,
  formatRevision,
  type Position,
  positionFromWire,
  positionOf,
  positionToWire,
} from "./position.ts";
import { type EffectivePolicy, type PolicyRuntime, StoreWriter } from "./replica.ts";
import { TAIL_VERSION } from "./tail-service.ts";

/** A caller of the home's policy log. */
export type PolicyLogClient = ServiceClient<typeof policyV1.PolicyLogService>;

type TailRequestInit = MessageInitShape<typeof policyV1.TailRequestSchema>;

/** A conversation with the home, from hello to its end. */
interface Conversation {
  readonly requests: RequestQueue<TailRequestInit>;
  /** Monotonic time at which each nonce was sent. */
  readonly sentAt: Map<bigint, number>;
  nextNonce: bigint;
}

/** A member's copy of the policy log: always a prefix of the home's, appended in order, acknowledged when durable. */
export class PolicyMember {
  readonly store: PolicyStore;
  readonly effective: EffectivePolicy;
  readonly #runtime: PolicyRuntime;
  readonly #policyHome: () => PolicyLogClient | undefined;
  readonly #writer: StoreWriter;
  #heardAt = Number.NEGATIVE_INFINITY;
  #inTouch = false;
  #lastProblem: string | undefined;

  constructor(
    runtime: PolicyRuntime,
    store: PolicyStore,
    effective: EffectivePolicy,
    policyHome: () => PolicyLogClient | undefined,
    signal: AbortSignal,
  ) {
    this.#runtime = runtime;
    this.store = store;
    this.effective = effective;
    this.#policyHome = policyHome;
    this.#writer = new StoreWriter(store, signal);
  }

  /** True while the home answers. */
  get reachesHome(): boolean {
    return this.#inTouch;
  }

  /** Tails the home until the signal aborts; any failure starts again from what is held. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers, timing, random } = this.#runtime;
    let pause = 50;
    while (!signal.aborted) {
      const before = this.#heardAt;
      try {
        await this.#converse(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#note(error);
      }
      pause = this.#heardAt === before ? Math.min(timing.retryMs, pause * 2) : 50;
      await timers.sleep(pause * (0.5 + random.next()), { signal }).catch(() => undefined);
    }
  }

  /** Writes down when the home was last heard, for the next start. */
  async storeFreshAt(ms: number): Promise<void> {
    await this.#writer.run(() => this.store.setFreshAt(ms));
  }

  async #converse(signal: AbortSignal): Promise<void> {
    const client = this.#policyHome();
    if (!client) throw new ContentError(ContentErrorKind.unavailable, "the policy home's address is not known");
    const { timers, timing } = this.#runtime;
    const requests = new RequestQueue<TailRequestInit>();
    const conversation: Conversation = { requests, sentAt: new Map(), nextNonce: this.#firstNonce() };
    const stop = new AbortController();
    const watch = { timer: timers.after(timing.silentMs, () => stop.abort(silence())) };
    const reports = timers.every(timing.heartbeatMs, () => this.#report(conversation));
    requests.push(this.#hello());
    this.#report(conversation);
    try {
      for await (const response of client.tail(requests, { signal: AbortSignal.any([signal, stop.signal]) })) {
        watch.timer[Symbol.dispose]();
        watch.timer = timers.after(timing.silentMs, () => stop.abort(silence()));
        if (!(await this.#writer.run(() => this.#take(response, conversation)))) return;
        this.#heardAt = this.#runtime.clock.monotonic();
        this.#inTouch = true;
        this.#lastProblem = undefined;
      }
      stop.signal.throwIfAborted();
    } finally {
      this.#inTouch = false;
      watch.timer[Symbol.dispose]();
      reports[Symbol.dispose]();
      requests.end();
      stop.abort();
    }
  }

  #hello(): TailRequestInit {
    const last = positionToWire(this.store.last);
    return {
      message: {
        case: "hello",
        value: { versions: [TAIL_VERSION], site: this.#runtime.site, ...(last ? { last } : {}) },
      },
    };
  }

  #report(conversation: Conversation): void {
    const nonce = conversation.nextNonce++;
    conversation.sentAt.set(nonce, this.#runtime.clock.monotonic());
    const durable = positionToWire(this.store.last);
    conversation.requests.push({ message: { case: "report", value: { nonce, ...(durable ? { durable } : {}) } } });
  }

  /** Takes one response in order: truncation, entries, commit, and only then its freshness. False: start again. */
  async #take(response: policyV1.TailResponse, conversation: Conversation): Promise<boolean> {
    if (response.version !== TAIL_VERSION)
      throw new ContentError(
        ContentErrorKind.invalid,
        `the policy home speaks version ${response.version} of the tail`,
      );
    if (response.exclusion !== undefined) return this.#excluded(response.exclusion);
    if (this.store.mirror.exclusion !== undefined) await this.store.setExclusion(undefined);
    const truncate = positionFromWire(response.truncateAfter);
    if (truncate && !(await this.#truncate(truncate))) return false;
    if (response.entries.length > 0) {
      await this.store.append(this.#following(response.entries), { exclusive: false });
      this.#report(conversation);
    }
    await this.#commit(positionFromWire(response.commit));
    this.#markFresh(response.nonce, conversation);
    return true;
  }

  /** Written down, so that the site knows of it also while the home is away. Asks again, more slowly: it may be added again. */
  async #excluded(exclusion: policyV1.Exclusion): Promise<false> {
    const { state, revision } = exclusionFromWire(exclusion);
    if (this.store.mirror.exclusion?.revision !== revision) {
      await this.store.setExclusion(exclusion);
      this.#runtime.log.error(`this site is no member of the cluster any more: it was ${state}`, { revision });
    }
    this.effective.advance(this.store.mirror);
    return false;
  }

  async #truncate(place: Position): Promise<boolean> {
    const committed = this.store.mirror.commit?.seq ?? 0;
    if (place.seq < committed)
      throw new ContentError(
        ContentErrorKind.fenced,
        `the policy home's log ends or differs at ${formatRevision(place)}, but ${committed} entries are effective here: it was lost or replaced; restore it from a backup`,
      );
    await this.store.truncateAfter(place.seq);
    const own = epochAt(this.store.mirror, place.seq);
    if (place.seq === 0 || (own && compareEpochs(own, place.epoch) === 0)) return true;
    // The last one left is of another epoch too: look one place further back.
    if (place.seq > committed) await this.store.truncateAfter(place.seq - 1);
    return false;
  }

  /** The entries to append. @throws ContentError when they leave a gap or go back to an older epoch. */
  #following(entries: readonly policyV1.Entry[]): readonly policyV1.Entry[] {
    let last = this.store.last;
    for (const entry of entries) {
      const position = positionOf(entry);
      if (position.seq !== (last?.seq ?? 0) + 1)
        throw new ContentError(
          ContentErrorKind.invalid,
          `policy entry ${position.seq} does not follow ${last?.seq ?? 0}`,
        );
      if (last && compareEpochs(position.epoch, last.epoch) < 0)
        throw new ContentError(
          ContentErrorKind.fenced,
          `policy entry ${formatRevision(position)} is of an older epoch than ${formatRevision(last)}`,
        );
      last = position;
    }
    return entries;
  }

  async #commit(commit: Position | undefined): Promise<void> {
    const { mirror } = this.store;
    const seq = Math.min(commit?.seq ?? 0, this.store.lastSeq);
    const epoch = epochAt(mirror, seq);
    if (epoch && seq > (mirror.commit?.seq ?? 0)) await this.store.setCommit({ epoch, seq });
    this.effective.advance(this.store.mirror);
  }

  #markFresh(nonce: bigint, { sentAt }: Conversation): void {
    const at = sentAt.get(nonce);
    if (at === undefined) return;
    this.effective.freshness.mark(at);
    for (const sent of sentAt.keys()) {
      if (sent > nonce) break;
      sentAt.delete(sent);
    }
  }

  /** Unpredictable, so that an echo of a former conversation cannot be taken for one of this. Never 0. */
  #firstNonce(): bigint {
    return (BigInt(`0x${Buffer.from(this.#runtime.random.bytes(6)).toString("hex")}`) << 15n) + 1n;
  }

  #note(error: unknown): void {
    const problem = error instanceof Error ? error.message : String(error);
    if (problem === this.#lastProblem) return;
    this.#lastProblem = problem;
    const { log } = this.#runtime;
    if (isContentError(error, ContentErrorKind.fenced))
      log.error("this site does not follow the policy home", { error });
    else log.warn("policy home not reached, going on with the policy known here", { error });
  }
}

function silence(): ContentError {
  return new ContentError(ContentErrorKind.unavailable, "the policy home is silent");
}
