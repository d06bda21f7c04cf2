import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Bulletin } from "./event-log.ts";

/** Messages a subscriber may be behind; older ones are lost, as they are with NATS. */
const MAX_WAITING = 10_000;

interface Subscriber {
  readonly messages: Uint8Array[];
  wake: () => void;
}

/** A {@link Bulletin} inside one process: messages arrive after the publisher's turn. `close` ends all subscriptions. */
export class LocalBulletin implements Bulletin {
  readonly #subscribers = new Map<string, Set<Subscriber>>();
  #closed = false;

  publish(subject: string, payload: Uint8Array): void {
    // A copy: the publisher may use its buffer again, as it may after a write to a socket.
    const message = Uint8Array.from(payload);
    for (const subscriber of this.#subscribers.get(subject) ?? []) {
      subscriber.messages.push(message);
      if (subscriber.messages.length > MAX_WAITING) {
        subscriber.messages.shift();
      }
      subscriber.wake();
    }
  }

  /** The subscription begins with this call, not with the first `next`. */
  subscribe(subject: string, { signal }: { signal: AbortSignal }): AsyncIterable<Uint8Array> {
    const subscriber: Subscriber = { messages: [], wake: () => {} };
    const group = this.#subscribers.get(subject) ?? new Set();
    this.#subscribers.set(subject, group.add(subscriber));
    return this.#messages(subject, subscriber, signal);
  }

  async *#messages(subject: string, subscriber: Subscriber, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const onAbort = (): void => subscriber.wake();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) {
        if (this.#closed) {
          throw new ContentError(ContentErrorKind.unavailable, "the log was closed");
        }
        const message = subscriber.messages.shift();
        if (message !== undefined) {
          yield message;
          continue;
        }
        await new Promise<void>((resolve) => {
          subscriber.wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#remove(subject, subscriber);
    }
  }

  #remove(subject: string, subscriber: Subscriber): void {
    const group = this.#subscribers.get(subject);
    group?.delete(subscriber);
    if (group?.size === 0) {
      this.#subscribers.delete(subject);
    }
  }

  close(): void {
    this.#closed = true;
    for (const group of this.#subscribers.values()) {
      for (const subscriber of group) {
        subscriber.wake();
      }
    }
  }
}
