import { ContentError } from "@meridian/oci";
import { RequestQueue, type ServiceClient } from "@meridian/rpc";
import type { Clock } from "@meridian/runtime";
import type { siteV1 } from "@meridian/wire";

type Request = { readonly fromSite: string; readonly number: number };

/** What one heartbeat brought back. */
export interface Heartbeat {
  /** The site that answered, as it calls itself. */
  readonly site: string;
  /** The round trip in milliseconds, on the monotonic clock. */
  readonly rttMs: number;
  /** Names of checks that fail there. */
  readonly failing: readonly string[];
}

export interface HeartbeatsOptions {
  readonly client: Pick<ServiceClient<typeof siteV1.SiteService>, "heartbeat">;
  /** The site of this process. */
  readonly fromSite: string;
  readonly clock: Clock;
  /** Called once, when it can be used no more, however that came. */
  readonly onEnd: () => void;
}

/**
 * A conversation with one gateway of another site: one stream that carries all heartbeats, because a call for each
 * costs several times as much. It is over when the other side or the connection ends it, or a heartbeat was given up.
 */
export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #requests = new RequestQueue<Request>();
  readonly #waiting = new Map<number, Pick<PromiseWithResolvers<siteV1.HeartbeatResponse>, "resolve" | "reject">>();
  #last = 0;
  #ended: { readonly error: unknown } | undefined;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
    void this.#listen();
  }

  /** Sends one and waits for its answer. Rejects when the conversation breaks first, or with the signal's reason. */
  async beat(signal: AbortSignal): Promise<Heartbeat> {
    if (this.#ended !== undefined) throw this.#ended.error;
    const { clock, fromSite } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<siteV1.HeartbeatResponse>();
    const giveUp = (): void => this.#giveUp(number, signal.reason);
    const sentAt = clock.monotonic();
    const number = ++this.#last;
    this.#waiting.set(number, { resolve, reject });
    this.#requests.push({ fromSite, number });
    signal.addEventListener("abort", giveUp);
    try {
      const { site, failing } = await promise;
      return { site, failing, rttMs: clock.monotonic() - sentAt };
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  /** Ends the conversation; what waits is rejected with the error. */
  end(error: unknown): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    this.#retire(error);
  }

  /** Later heartbeats may still be answered here, but the next one tries a new conversation. */
  #giveUp(number: number, error: unknown): void {
    this.#waiting.get(number)?.reject(error);
    this.#waiting.delete(number);
    this.#retire(error);
  }

  #retire(error: unknown): void {
    if (this.#ended === undefined) {
      this.#ended = { error };
      this.#options.onEnd();
    }
    if (this.#waiting.size === 0) this.#requests.fail(error);
  }

  async #listen(): Promise<void> {
    try {
      for await (const answer of this.#options.client.heartbeat(this.#requests)) {
        this.#waiting.get(answer.number)?.resolve(answer);
        this.#waiting.delete(answer.number);
        if (this.#ended !== undefined) this.#retire(this.#ended.error);
      }
      this.end(new ContentError("unavailable", "the other side ended the heartbeats"));
    } catch (error) {
      this.end(error);
    }
  }
}
