import { BlockList, isIP } from "node:net";
import { z } from "zod";

const positive = z.number().positive();
const milliseconds = z.int().min(1);

/** A token bucket, or `off`. */
const rateSchema = z.union([
  z.literal("off"),
  z.strictObject({
    /** Requests per second in the long run. */
    perSecond: positive.max(1_000_000),
    /** Requests at once, after a pause. */
    burst: z.int().min(1).max(10_000_000),
  }),
]);

/** The Redis that the processes of one site share. */
export const redisConfigSchema = z.strictObject({
  /** redis://host:port/database, or rediss:// for TLS. The password is `redisPassword` in the secrets file. */
  url: z.string().check(({ value, issues }) => {
    const message = redisUrlProblem(value);
    if (message !== undefined) issues.push({ code: "custom", input: value, message });
  }),
  /** User of Redis' access lists. Absent: the default user. */
  user: z.string().min(1).optional(),
  /** PEM file of the authority that signed Redis' certificate. Absent: the system's. */
  ca: z.string().min(1).optional(),
  /** A call is given up after this long and this process decides alone: no request waits longer. Default 10. */
  timeoutMs: milliseconds.max(1_000).default(10),
});
/** Parsed settings of the Redis of a site. */
export type RedisConfig = z.output<typeof redisConfigSchema>;

/** Limits of the gateways of a site. Defaults are far above what well-behaved clients do. */
export const limitsConfigSchema = z.strictObject({
  /** Addresses or CIDR blocks that request rates and upload counts are not for. Default: loopback. */
  exempt: z.array(z.string().refine(isBlock, "is neither an address nor a CIDR block")).default(["127.0.0.0/8", "::1"]),
  /** Requests that each gateway process takes; counted in its own memory. */
  requests: z
    .strictObject({
      /** Of one user, from wherever. Default 2 000 per second, 20 000 at once. */
      perIdentity: rateSchema.default({ perSecond: 2_000, burst: 20_000 }),
      /** Of one client address, without a login or with a bad one. Default 200 per second, 2 000 at once. */
      anonymous: rateSchema.default({ perSecond: 200, burst: 2_000 }),
      /** Of one client address, whoever asks. Default off: many may share an address. */
      perAddress: rateSchema.default("off"),
    })
    .prefault({}),
  /** Token requests of one client address to the whole site. Default 50 per second, 1 000 at once: a rack that boots. */
  tokens: rateSchema.default({ perSecond: 50, burst: 1_000 }),
  uploads: z
    .strictObject({
      /** Uploads that one user may have under way at a site. Default 1 000. */
      perIdentity: z.int().min(1).max(100_000).default(1_000),
      /** An upload that nothing was sent to for so long does not count. Default 120 000. */
      leaseMs: milliseconds.default(120_000),
    })
    .prefault({}),
});
/** Parsed limits of a gateway. */
export type LimitsConfig = z.output<typeof limitsConfigSchema>;

/** How the auth service treats failed and repeated logins. */
export const loginLimitsSchema = z.strictObject({
  /** How long the first refusal is held back; each further failure doubles it. Default 250. */
  firstDelayMs: milliseconds.default(250),
  /** The longest that a refusal is held back. Default 3 000: clients give up on a token after 5 s. */
  maxDelayMs: milliseconds.max(4_000).default(3_000),
  /** A series of failures ends after this long without one. Default 600 000. */
  forgetAfterMs: milliseconds.default(600_000),
  /** How long a checked credential is remembered, by its keyed hash. Default 60 000. */
  rememberMs: milliseconds.max(3_600_000).default(60_000),
});
/** Parsed rules of logins. */
export type LoginLimits = z.output<typeof loginLimitsSchema>;

function redisUrlProblem(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !/^rediss?:$/.test(url.protocol) || url.hostname === "")
    return "is not redis://host:port or rediss://host:port";
  if (url.username !== "" || url.password !== "")
    return "must not hold a login: the user is `redis.user`, the password `redisPassword` in the secrets file";
  if (!/^\/?\d{0,4}$/.test(url.pathname)) return "has a path that is not the number of a database, as /0 is";
  return undefined;
}

function isBlock(text: string): boolean {
  try {
    addBlock(new BlockList(), text);
    return true;
  } catch {
    return false;
  }
}

/** The addresses that a list of addresses and CIDR blocks names. @throws TypeError when an entry is neither. */
export function blockListOf(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) addBlock(list, entry);
  return list;
}

function addBlock(list: BlockList, entry: string): void {
  const [address = "", bits, ...rest] = entry.split("/");
  const family = isIP(address);
  const width = family === 6 ? 128 : 32;
  const prefix = bits === undefined ? width : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
  if (family === 0 || rest.length > 0 || prefix < 0 || prefix > width)
    throw new TypeError(`"${entry}" is neither an address nor a CIDR block`);
  list.addSubnet(address, prefix, family === 6 ? "ipv6" : "ipv4");
}
