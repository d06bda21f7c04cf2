import { ContentError, ContentErrorKind } from "@meridian/oci";
import { systemTimers, type Timers } from "@meridian/runtime";
import { abortable } from "../abortable.ts";
import { newIncarnation } from "../cursor.ts";
import type { EventLog, EventLogs, Incarnation, OpenOptions } from "../event-log.ts";
import type { NatsLogsOptions } from "../open-nats-logs.ts";
import { requireStreamName } from "../stream-name.ts";
import { NatsBulletin } from "./nats-bulletin.ts";
import { asContentError, errorCode, JetStreamErrorCode } from "./nats-error.ts";
import { NatsLink } from "./nats-link.ts";
import { NatsLog } from "./nats-log.ts";
import { StoredMessages } from "./stored-messages.ts";
import { type StreamFacts, streamConfig } from "./stream-config.ts";
import { UnansweredWrites } from "./unanswered-writes.ts";
import { WriterSession } from "./writer-session.ts";

const CONNECT_TIMEOUT_MS = 10_000;

/** What {@link openNatsLogs} loads. */
export async function connectNatsLogs(options: NatsLogsOptions): Promise<EventLogs> {
  const timers = options.timers ?? systemTimers;
  const link = new NatsLink(options, timers);
  try {
    await link.start(options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS);
  } catch (error) {
    await link[Symbol.asyncDispose]();
    throw error;
  }
  return new NatsLogs(link, options, timers);
}

class NatsLogs implements EventLogs {
  readonly bulletin: NatsBulletin;
  readonly #link: NatsLink;
  readonly #options: NatsLogsOptions;
  readonly #timers: Timers;
  readonly #logs = new Map<string, NatsLog>();
  readonly #unanswered: UnansweredWrites;

  constructor(link: NatsLink, options: NatsLogsOptions, timers: Timers) {
    this.#link = link;
    this.#options = options;
    this.#timers = timers;
    this.bulletin = new NatsBulletin(link);
    this.#unanswered = new UnansweredWrites(options.clock);
  }

  async open(stream: string, options: OpenOptions = {}): Promise<EventLog> {
    requireStreamName(stream);
    const { incarnation } = await this.#ensure(stream, options);
    const known = this.#logs.get(stream);
    if (known !== undefined) {
      known.begin(incarnation);
      return known;
    }
    const { site, log, durableAcks = false } = this.#options;
    const sessions = options.sessions ?? stream === `META_${site}`;
    const session = sessions ? new WriterSession(this.#options, log) : undefined;
    const parts = { link: this.#link, timers: this.#timers, durableAcks, session, unanswered: this.#unanswered };
    const opened = new NatsLog({ stream, incarnation, ...parts });
    this.#logs.set(stream, opened);
    return opened;
  }

  async #ensure(stream: string, { compact = true, incarnation }: OpenOptions): Promise<StreamFacts> {
    const live = this.#link.current();
    const messages = new StoredMessages(live, stream);
    const found = await messages.facts();
    if (found !== undefined) {
      return found;
    }
    const { clock, random, replicas = 1 } = this.#options;
    const config = { incarnation: incarnation ?? newIncarnation(clock, random), compact, replicas };
    try {
      await live.jsm.streams.add(streamConfig(stream, config));
    } catch (error) {
      // Another process was first: its incarnation counts.
      if (errorCode(error) !== JetStreamErrorCode.streamNameInUse) {
        throw asContentError(error);
      }
    }
    const made = await messages.facts();
    if (made === undefined) {
      throw new ContentError(ContentErrorKind.unavailable, `log ${stream} was dropped while it was opened`);
    }
    return made;
  }

  async renew(stream: string, { above }: { above?: Incarnation } = {}): Promise<EventLog> {
    requireStreamName(stream);
    const live = this.#link.current();
    const found = await new StoredMessages(live, stream).facts();
    if (found === undefined) {
      throw new ContentError(ContentErrorKind.unavailable, `log ${stream} does not exist`);
    }
    const { clock, random, replicas = 1 } = this.#options;
    const lives = [found.incarnation, ...(above === undefined ? [] : [above])];
    const config = { incarnation: newIncarnation(clock, random, lives), compact: found.compact, replicas };
    const { description } = streamConfig(stream, config);
    try {
      await live.jsm.streams.update(stream, { description });
    } catch (error) {
      throw asContentError(error);
    }
    return this.open(stream);
  }

  async streams(): Promise<string[]> {
    try {
      const names: string[] = [];
      for await (const name of this.#link.current().jsm.streams.names()) {
        names.push(name);
      }
      return names.sort();
    } catch (error) {
      throw asContentError(error);
    }
  }

  async drop(stream: string): Promise<void> {
    requireStreamName(stream);
    try {
      await this.#link.current().jsm.streams.delete(stream);
    } catch (error) {
      if (errorCode(error) !== JetStreamErrorCode.streamNotFound) {
        throw asContentError(error);
      }
    }
    this.#logs.get(stream)?.end();
  }

  async probe(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { jsm } = this.#link.current();
    try {
      const { storage, limits } = await abortable(jsm.getAccountInfo(), signal);
      if (limits.max_storage > 0 && storage >= limits.max_storage) {
        throw new ContentError(
          ContentErrorKind.unavailable,
          `JetStream's storage limit of ${storage} bytes is reached`,
        );
      }
    } catch (error) {
      throw asContentError(error);
    }
    this.#unanswered.check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#link[Symbol.asyncDispose]();
  }
}
