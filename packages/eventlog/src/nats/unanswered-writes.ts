import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";
import { UnansweredError } from "./requests.ts";

/** Who has something to write tries again sooner than this: then the stream takes writes, or does not yet. */
const BELIEVED_MS = 15_000;

/**
 * Streams whose writes nats-server leaves without an answer while it answers everything else. It does so for ever
 * once a write of the stream's store failed, as on a full disk, until it is started again (server/filestore.go, werr);
 * only its log and its `/healthz` tell.
 */
export class UnansweredWrites {
  readonly #clock: Clock;
  /** By stream: the monotonic time of the last write that nobody answered, with none answered since. */
  readonly #since = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  answered(stream: string): void {
    if (this.#since.size > 0) this.#since.delete(stream);
  }

  failed(stream: string, error: unknown): void {
    const cause = error instanceof Error ? error.cause : undefined;
    if (cause instanceof UnansweredError) this.#since.set(stream, this.#clock.monotonic());
  }

  /** @throws ContentError `unavailable`, with what to do, when a write of some stream got no answer lately. */
  check(): void {
    const now = this.#clock.monotonic();
    for (const [stream, since] of this.#since) {
      if (now - since > BELIEVED_MS) this.#since.delete(stream);
    }
    const [stream] = this.#since.keys();
    if (stream === undefined) return;
    const advice = "when its disk was full or failed (its log says), free the disk and start nats-server again";
    throw new ContentError(
      ContentErrorKind.unavailable,
      `nats-server leaves writes of ${stream} unanswered: ${advice}`,
    );
  }
}
