import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Bulletin } from "../event-log.ts";
import type { LiveConnection, NatsLink } from "./nats-link.ts";

/** Apart from the subjects of all streams. */
const PREFIX = "bulletin.";
/** What writers tell of a stream goes to this with its name behind. */
export const NEWS_SUBJECT = `${PREFIX}news.`;

/** A {@link Bulletin} over NATS core. What is published while there is no connection is lost, as bulletins may be. */
export class NatsBulletin implements Bulletin {
  readonly #link: NatsLink;

  constructor(link: NatsLink) {
    this.#link = link;
  }

  publish(subject: string, payload: Uint8Array): void {
    try {
      this.#link.current().nc.publish(PREFIX + subject, payload);
    } catch {
      // Best effort: subscribers learn of the loss by their own connections.
    }
  }

  subscribe(subject: string, { signal }: { signal: AbortSignal }): AsyncIterable<Uint8Array> {
    const live = this.#link.current();
    // Now, not at the first `next`: what is published from here on arrives.
    return messages(live, live.nc.subscribe(PREFIX + subject), signal);
  }
}

type Received = ReturnType<LiveConnection["nc"]["subscribe"]>;

async function* messages(live: LiveConnection, received: Received, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const onAbort = (): void => received.unsubscribe();
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) {
    onAbort();
  }
  try {
    for await (const { data } of received) {
      if (signal.aborted) {
        return;
      }
      yield Uint8Array.prototype.slice.call(data);
    }
    if (!signal.aborted) {
      live.lost.throwIfAborted();
      throw new ContentError(ContentErrorKind.unavailable, "the subscription was ended by the server");
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    received.unsubscribe();
  }
}
