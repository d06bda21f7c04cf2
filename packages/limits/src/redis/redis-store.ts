import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Logger, Timers } from "@meridian/runtime";
import type { RedisOptions, Result } from "ioredis";
import type { RedisConfig } from "../config.ts";
import type { LimitStore } from "../limit-store.ts";
import { RedisLink } from "./redis-link.ts";
import { SCRIPTS } from "./scripts.ts";

declare module "ioredis" {
  interface RedisCommander<Context> {
    meridianAddFailure(key: string, forgetAfterMs: number): Result<number, Context>;
    meridianTakeToken(key: string, intervalUs: number, depthUs: number): Result<number, Context>;
    meridianTakeLease(key: string, lease: string, max: number, ttlMs: number): Result<number, Context>;
  }
}

/** What {@link openRedisStore} needs. */
export interface RedisStoreOptions extends RedisConfig {
  readonly password?: string;
  /** Begins every key: no two sites that share a Redis may have the same. */
  readonly prefix: string;
  /** Secret of the site: keys hold no name, address or credential, only its keyed hash. */
  readonly key: Uint8Array;
  readonly timers: Timers;
  readonly log: Logger;
}

/** The driver on Redis, and whether it can be used now. */
export interface RedisStore extends LimitStore {
  readonly isUp: boolean;
}

const CONNECT_TIMEOUT_MS = 2_000;
const MAX_RECONNECT_MS = 2_000;

/**
 * Opens the driver that shares what it keeps with every process that has the same Redis, prefix and key. Resolves
 * before there is a connection; while there is none every method fails at once.
 * @throws errors of the file system when `ca` cannot be read.
 */
export async function openRedisStore(options: RedisStoreOptions): Promise<RedisStore> {
  const { Redis } = await import("ioredis");
  const client = new Redis(clientOptions(options));
  const { host } = new URL(options.url);
  const link = new RedisLink({ ...options, client, address: host, probeKey: `${options.prefix}probe` });
  const named = keyNames(options);
  return {
    get isUp() {
      return link.isUp;
    },
    addFailure: (key, { forgetAfterMs }) =>
      link.call((redis) => redis.meridianAddFailure(named("f", key), whole(forgetAfterMs))),
    async clearFailures(key) {
      await link.call((redis) => redis.del(named("f", key)));
    },
    async takeToken(key, { perSecond, burst }) {
      const intervalUs = 1_000_000 / perSecond;
      const name = named("t", `${perSecond}/${burst}\0${key}`);
      return (await link.call((redis) => redis.meridianTakeToken(name, intervalUs, burst * intervalUs))) / 1_000;
    },
    async takeLease(key, lease, { max, ttlMs }) {
      return (await link.call((redis) => redis.meridianTakeLease(named("l", key), lease, max, whole(ttlMs)))) === 1;
    },
    async releaseLease(key, lease) {
      await link.call((redis) => redis.zrem(named("l", key), lease));
    },
    async readNote(key) {
      return (await link.call((redis) => redis.get(named("n", key)))) ?? undefined;
    },
    async keepNote(key, note, { ttlMs }) {
      await link.call((redis) => redis.set(named("n", key), note, "PX", whole(ttlMs)));
    },
    [Symbol.asyncDispose]: () => link[Symbol.asyncDispose](),
  };
}

/** Nothing is queued or sent again: an answer that comes late is worth nothing here. */
function clientOptions({ url, user, password, ca }: RedisStoreOptions): RedisOptions {
  const { protocol, hostname, port, pathname } = new URL(url);
  const secure = protocol === "rediss:";
  return {
    host: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? 6379 : Number(port),
    db: Number(pathname.slice(1) || 0),
    username: user,
    password,
    ...(secure ? { tls: ca === undefined ? {} : { ca: readFileSync(ca) } } : {}),
    protocol: 2,
    disableClientInfo: true,
    enableOfflineQueue: false,
    enableAutoPipelining: true,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    retryStrategy: (times) => Math.min(MAX_RECONNECT_MS, 50 * 2 ** Math.min(times, 10)),
    scripts: SCRIPTS,
  };
}

/** Names of keys: of bounded length, and without what they are about. */
function keyNames({ prefix, key }: RedisStoreOptions): (kind: string, text: string) => string {
  return (kind, text) => {
    const hash = createHmac("sha256", key).update(`${kind}\0${text}`).digest("base64url");
    return `${prefix}${kind}:${hash}`;
  };
}

/** Redis takes whole milliseconds, one at least. */
function whole(ms: number): number {
  return Math.max(1, Math.ceil(ms));
}
