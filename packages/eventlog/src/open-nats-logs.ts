import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import type { EventLogs } from "./event-log.ts";

/** Settings of {@link openNatsLogs}. */
export interface NatsLogsOptions {
  /** URLs of the site's nats-servers, e.g. `nats://127.0.0.1:4222` or `tls://…`. */
  readonly servers: readonly string[];
  readonly site: string;
  /** The process, e.g. `eu/gateway-1`: the connection's name, and named in session records. */
  readonly writer: string;
  readonly clock: Clock;
  readonly random: Random;
  /** For heartbeats and back-off; the system's when absent. */
  readonly timers?: Timers;
  readonly log?: Logger;
  /** Replicas of streams that are created: 1 (the default), or 3 in a cluster inside the site. */
  readonly replicas?: number;
  /**
   * True when the servers fsync before they acknowledge (`sync_interval: always`) or the streams have three replicas.
   * Default: false.
   */
  readonly durableAcks?: boolean;
  readonly user?: string;
  readonly pass?: string;
  readonly token?: string;
  /** PEM texts, for `tls://` URLs. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** How long the first connection may take, in milliseconds. Default: 10 000. */
  readonly connectTimeoutMs?: number;
}

/**
 * The logs of a site whose processes share a NATS JetStream (2.9 or newer). The client is only loaded by this call.
 * A lost connection is made again in the background; until then every method throws ContentError `unavailable`.
 * @throws ContentError `unavailable` when no server answers within `connectTimeoutMs`.
 */
export async function openNatsLogs(options: NatsLogsOptions): Promise<EventLogs> {
  const { connectNatsLogs } = await import("./nats/nats-logs.ts");
  return connectNatsLogs(options);
}
