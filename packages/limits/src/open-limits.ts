import { hkdfSync } from "node:crypto";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { RedisConfig } from "./config.ts";
import { layeredStore } from "./layered-store.ts";
import type { LimitStore } from "./limit-store.ts";
import { createLocalStore } from "./local/local-store.ts";

/** What {@link openLimitStore} needs. */
export interface LimitStoreOptions {
  /** Absent: this process keeps its limits alone. */
  readonly redis?: RedisConfig & { readonly password?: string };
  readonly cluster: string;
  readonly site: string;
  /** Any secret of the site: what is used here is derived from it. */
  readonly siteSecret: Uint8Array;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Opens what a process keeps its limits in. Resolves whether or not Redis can be reached. */
export async function openLimitStore(options: LimitStoreOptions): Promise<LimitStore> {
  const local = createLocalStore(options);
  if (options.redis === undefined) return local;
  // Loaded only when it is configured.
  const { openRedisStore } = await import("./redis/redis-store.ts");
  const shared = await openRedisStore({
    ...options.redis,
    prefix: `meridian:${options.cluster}:${options.site}:`,
    key: deriveKey(options.siteSecret, "limits: names of keys"),
    timers: options.timers,
    log: options.log,
  });
  return layeredStore(local, shared);
}

/** A key of its own for one purpose (RFC 5869), the same in all processes that have the secret. */
export function deriveKey(secret: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", secret, "", `meridian ${purpose}`, 32));
}
