import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";
import { UnansweredError } from "./requests.ts";

/** Who has something to write tries again sooner than this: then the stream takes writes, or does not yet. */
const BELIEVED_MS = 15_000;

interface Silence {
  readonly last: object;
  /** How many one after the other brought no answer to a write. */
  readonly connections: number;
  /** Monotonic, of the last one. */
  readonly at: number;
}

/**
 * Streams whose writes nats-server leaves without an answer while it answers everything else. It does so for ever
 * once a write of the stream's store failed, as on a full disk, until it is started again (server/filestore.go, werr);
 * only its log and its `/healthz` tell.
 */
export class UnansweredWrites {
  readonly #clock: Clock;
  readonly #silent = new Map<string, Silence>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  answered(stream: string): void {
    if (this.#silent.size > 0) this.#silent.delete(stream);
  }

  /** `connection`: over which it was sent. One that was made since was answered: the server is not merely hung. */
  failed(stream: string, connection: object, error: unknown): void {
    const cause = error instanceof Error ? error.cause : undefined;
    if (!(cause instanceof UnansweredError)) return;
    const known = this.#silent.get(stream);
    const connections = known === undefined ? 1 : known.connections + Number(known.last !== connection);
    this.#silent.set(stream, { last: connection, connections, at: this.#clock.monotonic() });
  }

  /** @throws ContentError `unavailable`, with what to do, when writes of some stream got no answer lately. */
  check(): void {
    const now = this.#clock.monotonic();
    for (const [stream, { at, connections }] of this.#silent) {
      if (now - at > BELIEVED_MS) {
        this.#silent.delete(stream);
      } else if (connections > 1) {
        const advice = "when its disk was full or failed (its log says), free the disk and start nats-server again";
        const message = `nats-server leaves writes of ${stream} unanswered: ${advice}`;
        throw new ContentError(ContentErrorKind.unavailable, message);
      }
    }
  }
}
