import type { Logger } from "@meridian/runtime";
import { compareIncarnations, type Witness, witnessHash } from "../cursor.ts";
import type { Incarnation } from "../event-log.ts";
import { expiredSessions, newSession, type SessionWriter } from "../session.ts";
import type { ConnectedStream } from "./connected-stream.ts";
import { publish } from "./publish.ts";

/** The session records that this process writes to one stream: one before its first append on each connection. */
export class WriterSession {
  readonly #writer: SessionWriter;
  readonly #log: Logger | undefined;
  #last: (Witness & { readonly incarnation: Incarnation }) | undefined;

  constructor(writer: SessionWriter, log: Logger | undefined) {
    this.#writer = writer;
    this.#log = log;
  }

  /** Looks whether the last one is still there, then writes the next. Resolves with its sequence. */
  async write(connected: ConnectedStream): Promise<number> {
    const { live, stream, facts } = connected;
    await this.#compare(connected);
    const session = newSession(stream, this.#writer, facts.head);
    const sequence = await publish(live, { stream, subject: session.subject, payload: session.payload });
    this.#last = { sequence, hash: witnessHash(session.payload), incarnation: facts.incarnation };
    await this.#expire(connected, sequence, session.openedAtMs);
    return sequence;
  }

  async #compare({ stream, facts, messages }: ConnectedStream): Promise<void> {
    const last = this.#last;
    if (last === undefined || compareIncarnations(last.incarnation, facts.incarnation) !== 0) {
      return;
    }
    const found = await messages.at(last.sequence);
    if (found === undefined || Buffer.compare(witnessHash(found.payload), last.hash) !== 0) {
      // Readers find it by their cursors; the operator reads it here.
      this.#log?.warn("the log server came back without acknowledged entries", { stream, head: facts.head });
    }
  }

  async #expire({ live, stream, sessions }: ConnectedStream, upTo: number, nowMs: number): Promise<void> {
    for (const { sequence } of expiredSessions(await sessions.upTo(upTo), nowMs)) {
      await live.jsm.streams.deleteMessage(stream, sequence, false).catch((error: unknown) => {
        // Two writers may remove the same one.
        this.#log?.debug("an old session record was not removed", { stream, sequence, error });
      });
    }
  }
}
