import { z } from "zod";

/** Settings of a replicator. */
export const replicatorConfigSchema = z.strictObject({
  /** Blobs fetched at once from one other site; default 4: leaves the link to pulls. */
  fetchesPerSite: z.int().min(1).max(64).default(4),
  /** First wait after a blob could not be fetched, milliseconds; doubled at each failure; default 500. */
  retryFirstMs: z.int().min(10).default(500),
  /** Longest wait between two attempts for one blob, milliseconds; default 30 000. A site that comes back ends all waits. */
  retryMaxMs: z.int().min(10).default(30_000),
  /** How often everything visible is looked through for blobs that are missing, milliseconds; default 10 minutes. */
  rescanEveryMs: z.int().min(1_000).default(600_000),
  /** How long one fetch may take in all, milliseconds; default 6 h: the blob node itself gives up on holders that stall. */
  fetchTimeoutMs: z.int().min(1_000).default(21_600_000),
  /** Milliseconds without a peer itself after which its log is read from a third site; default 3 000. */
  relayAfterMs: z.int().min(100).default(3_000),
});

/** See {@link replicatorConfigSchema}. */
export type ReplicatorConfig = z.infer<typeof replicatorConfigSchema>;
