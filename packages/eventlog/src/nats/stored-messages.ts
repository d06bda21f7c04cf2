import { ContentError } from "@meridian/oci";
import type { MsgRequest, StoredMsg } from "@nats-io/jetstream";
import type { DiscardedEntry, LogEntry } from "../event-log.ts";
import { toEntry } from "./message-codec.ts";
import { asContentError, errorCode, JetStreamErrorCode } from "./nats-error.ts";
import type { LiveConnection } from "./nats-link.ts";
import { type StreamFacts, streamFacts } from "./stream-config.ts";

/** Reads of single stored messages, answered by the stream's leader. All throw ContentErrors. */
export class StoredMessages {
  readonly #live: LiveConnection;
  readonly #stream: string;

  constructor(live: LiveConnection, stream: string) {
    this.#live = live;
    this.#stream = stream;
  }

  /** Incarnation and head; undefined when there is no such stream. */
  async facts(): Promise<StreamFacts | undefined> {
    try {
      return streamFacts(await this.#live.jsm.streams.info(this.#stream));
    } catch (error) {
      if (errorCode(error) === JetStreamErrorCode.streamNotFound) {
        return undefined;
      }
      throw this.#failed(error);
    }
  }

  at(sequence: number): Promise<LogEntry | undefined> {
    return this.#get({ seq: sequence });
  }

  last(subject: string): Promise<LogEntry | undefined> {
    return this.#get({ last_by_subj: subject });
  }

  /** The first entry at or after the sequence whose subject matches the filter. */
  next(sequence: number, filter: string): Promise<LogEntry | undefined> {
    // The server has it since 2.9; the client's type knows it for direct gets only.
    return this.#get({ seq: Math.max(1, sequence), next_by_subj: filter } as MsgRequest);
  }

  /** The last entry at or before the sequence. Its neighbours may be compacted away: the gap is halved until it is found. */
  async lastUpTo(sequence: number): Promise<LogEntry | undefined> {
    if (sequence < 1) {
      return undefined;
    }
    let found = await this.at(sequence);
    let low = sequence;
    for (let step = 1; found === undefined && low > 1; step *= 2) {
      low = Math.max(1, sequence - step);
      found = await this.#within(low, sequence);
    }
    let high = sequence;
    while (found !== undefined && found.sequence < high) {
      const middle = Math.ceil((found.sequence + 1 + high) / 2);
      const later = await this.#within(middle, high);
      if (later === undefined) {
        high = middle - 1;
      } else {
        found = later;
      }
    }
    return found;
  }

  /** Removes what the subject has up to the sequence; returns how many. A later entry of the subject stays. */
  async purge({ subject, sequence }: DiscardedEntry): Promise<number> {
    try {
      const { purged } = await this.#live.jsm.streams.purge(this.#stream, { filter: subject, seq: sequence + 1 });
      return purged;
    } catch (error) {
      throw this.#failed(error);
    }
  }

  async #within(from: number, to: number): Promise<LogEntry | undefined> {
    const entry = await this.next(from, ">");
    return entry !== undefined && entry.sequence <= to ? entry : undefined;
  }

  async #get(query: MsgRequest): Promise<LogEntry | undefined> {
    try {
      const message = await this.#live.jsm.streams.getMessage(this.#stream, query);
      return message === null ? undefined : storedEntry(message);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  #failed(error: unknown): Error {
    const failure = asContentError(error);
    if (errorCode(error) === undefined && !(error instanceof ContentError)) {
      // No answer at all: whatever else is in flight waits in vain too.
      this.#live.fail(error);
    }
    return failure;
  }
}

function storedEntry({ seq, subject, data, header }: StoredMsg): LogEntry {
  return toEntry(seq, { subject, data, headers: header });
}
