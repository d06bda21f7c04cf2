import { limitsConfigSchema } from "@meridian/limits";
import { MAX_MANIFEST_BYTES } from "@meridian/oci";
import { z } from "zod";

const MIB = 1024 * 1024;

const milliseconds = z.number().int().min(0);

/** Settings of one gateway. Times are in milliseconds, sizes in bytes. */
export const gatewayConfigSchema = z.strictObject({
  /** Address to bind. */
  host: z.string().min(1).default("127.0.0.1"),
  /** Port to bind; 0 takes a free one. */
  port: z.number().int().min(0).max(65_535).default(5001),
  /** Files of the edge certificate (chain, leaf first) and its key, PEM; read by the composition. Absent: plain HTTP. */
  tls: z.strictObject({ key: z.string().min(1), cert: z.string().min(1) }).optional(),
  /** What a request without credentials may do. `admin` is for a dev cluster on loopback only. */
  anonymous: z.enum(["none", "pull", "admin"]).default("none"),
  /** True takes manifests whose config, layers or children the repository does not have (sparse indexes). */
  sparse: z.boolean().default(false),
  /**
   * Told to clients as `OCI-Chunk-Min-Length`: smaller chunks of an upload are taken, but each costs a round trip.
   * 0 tells nothing.
   */
  chunkMinBytes: z
    .number()
    .int()
    .min(0)
    .max(64 * MIB)
    .default(0),
  /** Proxies, as addresses or CIDR blocks, whose X-Forwarded-* headers are believed. */
  trustedProxies: z.array(z.string().min(1)).default([]),
  /** Larger manifests are refused with 413. The specification asks for 4 MiB at least. */
  maxManifestBytes: z
    .number()
    .int()
    .min(64 * 1024)
    .max(MAX_MANIFEST_BYTES)
    .default(MAX_MANIFEST_BYTES),
  /** Memory for manifest bytes that are pulled often. */
  manifestCacheBytes: z
    .number()
    .int()
    .min(0)
    .default(32 * MIB),
  /** Blob nodes of this site that keep each blob. Absent: 1 with one node, else 2. The same in every gateway and replicator of a site. */
  copies: z.number().int().min(1).max(7).optional(),
  /** How long a push is held back until as many sites have it as its repository wants (`durability`), before 504. Clients give up after 30 s. */
  durabilityWaitMs: milliseconds.default(20_000),
  /** A push while fewer than `copies` nodes are alive: taken with fewer copies, or refused with 503. */
  degraded: z.enum(["accept", "refuse"]).default("accept"),
  /** How long requests under way may go on after a stop was asked for. */
  drainTimeoutMs: milliseconds.default(10_000),
  /** How long a token request waits for a live auth. docker gives up after 15 s. */
  tokenWaitMs: milliseconds.default(5_000),
  /** How long other requests wait out a state that passes by itself, before 503. */
  transientWaitMs: milliseconds.default(10_000),
  /** The head of a request must have come whole after this long, half as long again at most. */
  headersTimeoutMs: milliseconds.min(100).default(60_000),
  /** A request body ends after this long without a byte. */
  bodyIdleMs: milliseconds.min(1).default(60_000),
  /** An answer is cut off, with its connection, after this long without the client taking a byte of what waits for it. */
  answerIdleMs: milliseconds.min(1).default(60_000),
  /** How long a body is read and thrown away after an early error, so that the client sees the answer. */
  discardMs: milliseconds.default(30_000),
  /** Idle connections are kept this long: longer than clients' own pools (30 to 90 s). */
  keepAliveMs: milliseconds.min(1).default(125_000),
  /** Requests under way at once; more get 429, or 503 when they have a body. */
  maxRequests: z.number().int().min(1).default(10_000),
  /** How much one client may do. */
  limits: limitsConfigSchema.prefault({}),
  /** Answers say how old the policy is once it is older than this. */
  maxStalenessMs: milliseconds.default(30_000),
  /** Nothing is decided by a policy older than this: 503. */
  maxPolicyAgeMs: milliseconds.default(24 * 3_600_000),
});

export type GatewayConfig = z.infer<typeof gatewayConfigSchema>;
