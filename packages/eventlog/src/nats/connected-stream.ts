import { type Place, witnessOf } from "../cursor.ts";
import { isCopy } from "../stream-name.ts";
import type { LiveConnection } from "./nats-link.ts";
import { SessionIndex } from "./session-index.ts";
import type { StoredMessages } from "./stored-messages.ts";
import type { StreamFacts } from "./stream-config.ts";

/** One stream over one connection, in one incarnation. */
export class ConnectedStream {
  readonly live: LiveConnection;
  readonly stream: string;
  readonly messages: StoredMessages;
  readonly sessions: SessionIndex;
  /** As the stream was when it was first looked at over this connection. */
  readonly facts: StreamFacts;

  constructor(live: LiveConnection, stream: string, messages: StoredMessages, facts: StreamFacts) {
    this.live = live;
    this.stream = stream;
    this.messages = messages;
    this.facts = facts;
    this.sessions = new SessionIndex(stream, messages);
  }

  /** What the stream, of this head, says about a place. */
  async place(sequence: number, head: number): Promise<Place> {
    const { incarnation, compact } = this.facts;
    if (sequence > head) {
      return { incarnation, head };
    }
    const copy = isCopy(this.stream);
    const entry = copy || !compact ? await this.messages.lastUpTo(sequence) : undefined;
    const witness = compact ? await this.sessions.lastUpTo(sequence) : entry && witnessOf(entry);
    return { incarnation, head, witness, originSequence: copy ? (entry?.origin?.sequence ?? 0) : undefined };
  }
}
