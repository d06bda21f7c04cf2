import { create } from "@bufbuild/protobuf";
import type { LogLife } from "@meridian/catalog";
import {
  type Cursor,
  compareIncarnations,
  confirmedCheck,
  type EventLog,
  type EventLogs,
  encodeLife,
  type Incarnation,
  lifeSubject,
} from "@meridian/eventlog";
import { ownStream } from "@meridian/link";
import { ContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import { type AskedMember, bringIn, Findings, HEAD_TIMEOUT_MS, headsAt } from "./held-by-members.ts";

/** What {@link LogRestorer} works with. */
export interface LogRestorerOptions {
  readonly site: string;
  readonly logs: EventLogs;
  readonly life: LogLife;
  /** Publishes in the site's own log what it lacks of these records of its own. */
  readonly adopt: (site: string, payloads: readonly Uint8Array[]) => Promise<void>;
  /** All other members, as they are now. */
  readonly members: () => readonly AskedMember[];
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Called once the log has everything again that could be brought in, when there was anything. */
  readonly restored?: () => void;
  /** How long members that cannot be reached are tried once another one was asked, milliseconds. Default 5 000. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 5_000;
const RETRY_MS = 300;
const FAILURE_PAUSE_MS = 1_000;
/** What is brought in is told in the log this often, in milliseconds. */
const TELL_EVERY_MS = 1_000;

/**
 * Brings back what the site's own log has lost (consistency.md §1): whenever the log begins a life, because it was
 * created or set back, every member is asked what it holds of earlier ones, and that is published in the log. Then the
 * log says that it is whole, up to where it has which earlier life, and the site takes writes. Members that cannot be
 * reached are left out once one was asked; while none can be, the site waits, for an operator's word if need be.
 */
export class LogRestorer implements AsyncDisposable {
  readonly #options: LogRestorerOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #changed = Promise.withResolvers<void>();
  #failure = "";
  /** What was said last of how far it is, and when. */
  #told = "";
  #toldAt = 0;

  constructor(options: LogRestorerOptions) {
    this.#options = options;
    const { life } = options;
    const watching = life.onChanged(() => {
      if (life.restoring !== undefined) this.#changed.resolve();
    });
    this.#stop.signal.addEventListener("abort", () => {
      watching[Symbol.dispose]();
      this.#changed.resolve();
    });
    const checked = this.#checkFirst();
    life.checkFirst(checked);
    this.#running = checked.then(() => this.#run());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { life, log, timers } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#changed = Promise.withResolvers<void>();
      if (life.restoring === undefined) await this.#changed.promise;
      if (signal.aborted) return;
      try {
        await this.#restore();
        this.#failure = "";
      } catch (error) {
        if (signal.aborted) return;
        const failure = error instanceof Error ? error.message : String(error);
        if (failure !== this.#failure) log.warn("the site's log could not be restored yet", { error });
        this.#failure = failure;
        await timers.sleep(FAILURE_PAUSE_MS, { signal }).catch(() => {});
      }
    }
  }

  /** Whether members have seen what the log does not hold. Never rejects, and takes two seconds at most. */
  async #checkFirst(): Promise<void> {
    const { life, log, logs, site, timers } = this.#options;
    const late = new AbortController();
    using _deadline = timers.after(HEAD_TIMEOUT_MS, () => late.abort());
    const signal = AbortSignal.any([late.signal, this.#stop.signal]);
    try {
      await life.untilKnown(signal);
      // A log that is not whole is compared as it is restored.
      if (life.restoring !== undefined) return;
      const own = await logs.open(ownStream(site));
      for (const cursor of (await this.#heads(signal)).values()) {
        const check = cursor && (await confirmedCheck(own, cursor, timers));
        if (check?.ok === false && (check.lost || compareIncarnations(cursor!.incarnation, check.incarnation) > 0)) {
          life.foundLost(check);
        }
      }
    } catch (error) {
      log.debug("the site's log was not compared with what other sites hold of it", { error });
    }
  }

  /** One life of the log, until it is whole. Returns early when there is another one to be restored. */
  async #restore(): Promise<void> {
    const { clock, life, logs, site, timers, patienceMs = PATIENCE_MS } = this.#options;
    const { signal } = this.#stop;
    const current = life.current();
    if (current === undefined) return;
    const own = await logs.open(ownStream(site));
    if (await this.#beginAnother(own, current)) return;
    const begun = clock.monotonic();
    const found = new Findings();
    this.#toldAt = begun;
    for (;;) {
      await this.#askAll(own, current.incarnation, found);
      const waiting = this.#waiting(found);
      if (life.restoring === undefined || life.current()?.incarnation.id !== current.incarnation.id) return;
      const patient = found.asked.size === 0 || clock.monotonic() - begun < patienceMs;
      if (waiting.length === 0 || !patient) return await this.#conclude(own, current.incarnation, { found, waiting });
      await timers.sleep(RETRY_MS, { signal });
    }
  }

  /**
   * A log that was set back, or that a member knows a later life of, begins another life, in which nothing that was seen
   * of the earlier one is taken for its own. Resolves with whether it has.
   */
  async #beginAnother(
    own: EventLog,
    { incarnation, life }: { readonly incarnation: Incarnation; readonly life?: recordV1.Life },
  ): Promise<boolean> {
    const { log, logs, timers } = this.#options;
    let above: Incarnation | undefined;
    let lost = life?.state === recordV1.LifeState.LOST;
    for (const cursor of (await this.#heads(this.#stop.signal)).values()) {
      if (cursor === undefined) continue;
      if (compareIncarnations(cursor.incarnation, above ?? incarnation) > 0) above = cursor.incarnation;
      const check = await confirmedCheck(own, cursor, timers);
      lost ||= !check.ok && check.lost;
    }
    if (!lost && above === undefined) return false;
    const renewed = await logs.renew(own.stream, { ...(above && { above }) });
    const next = (await renewed.head()).incarnation;
    log.warn("the site's log begins another life, because it has lost what it had", {
      before: incarnation.id,
      incarnation: next.id,
    });
    // Whoever reads the log learns from this that its cursor is of an earlier life.
    await this.#say(renewed, next, { state: recordV1.LifeState.RESTORING });
    return true;
  }

  #heads(signal: AbortSignal): Promise<ReadonlyMap<string, Cursor | undefined>> {
    return headsAt(this.#options.members(), { ...this.#options, signal });
  }

  /** Brings in what members hold that were not asked yet. */
  async #askAll(own: EventLog, incarnation: Incarnation, found: Findings): Promise<void> {
    const { adopt, log, members, site } = this.#options;
    const { signal } = this.#stop;
    const progress = (): Promise<void> => this.#tell(own, incarnation, found);
    for (const { site: member, client } of members()) {
      if (found.asked.has(member)) continue;
      try {
        if (client === undefined) throw new ContentError("unavailable", "no address is known");
        await bringIn(client, { site, found, adopt, progress, signal });
        found.asked.add(member);
      } catch (error) {
        signal.throwIfAborted();
        log.debug("a site could not be asked for what it holds of this site's log", { member, error });
      }
      await progress();
    }
  }

  #waiting({ asked }: Findings): string[] {
    return this.#options.members().flatMap(({ site }) => (asked.has(site) ? [] : [site]));
  }

  /** Says in the log how far it is, when it takes long: for the other processes of the site, and their clients. */
  async #tell(own: EventLog, incarnation: Incarnation, found: Findings): Promise<void> {
    const { clock, life } = this.#options;
    const now = clock.monotonic();
    const waiting = this.#waiting(found);
    const told = `${[...found.asked]} ${waiting} ${found.records}`;
    if (told === this.#told || now - this.#toldAt < TELL_EVERY_MS || life.restoring === undefined) return;
    this.#told = told;
    this.#toldAt = now;
    const { RESTORING } = recordV1.LifeState;
    await this.#say(own, incarnation, { state: RESTORING, ...toSay(found), waiting });
  }

  async #conclude(
    own: EventLog,
    incarnation: Incarnation,
    { found, waiting }: { readonly found: Findings; readonly waiting: readonly string[] },
  ): Promise<void> {
    const { log, restored } = this.#options;
    found.earlier.delete(incarnation.id);
    await this.#say(own, incarnation, { state: recordV1.LifeState.WHOLE, ...toSay(found), waiting: [...waiting] });
    const { records } = found;
    if (records > 0) {
      log.warn("the site's log has again what other sites held of it", {
        records,
        asked: [...found.asked],
        ...(waiting.length > 0 && { unreachable: waiting }),
      });
      restored?.();
    }
  }

  /** Resolves once this process has read it in the log. */
  async #say(own: EventLog, incarnation: Incarnation, said: Parameters<typeof encodeLife>[2]): Promise<void> {
    const { site, life } = this.#options;
    const { signal } = this.#stop;
    const entry = { subject: lifeSubject(own.stream, incarnation), payload: encodeLife(site, incarnation, said) };
    await own.append(entry, { signal });
    await life.untilRead(incarnation, said.state, signal);
  }
}

function toSay({ asked, clock, earlier, records }: Findings): Parameters<typeof encodeLife>[2] {
  const lives = [...earlier.values()].map((one) => create(recordV1.EarlierLifeSchema, one));
  return { earlier: lives, clock, asked: [...asked], records: BigInt(records) };
}
