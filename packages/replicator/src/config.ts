import { linksSchema } from "@meridian/cluster";
import { z } from "zod";

/** Settings of a replicator. */
export const replicatorConfigSchema = z.strictObject({
  /** Blobs fetched at once from one other site; default 4: leaves the link to pulls. */
  fetchesPerSite: z.int().min(1).max(64).default(4),
  /** Rates and windows of the links from other sites; default: none. As in the blob nodes' settings. */
  links: linksSchema.default({}),
  /** First wait after a blob could not be fetched, milliseconds; doubled at each failure; default 500. */
  retryFirstMs: z.int().min(10).default(500),
  /** Longest wait between two attempts for one blob, milliseconds; default 30 000. A site that comes back ends all waits. */
  retryMaxMs: z.int().min(10).default(30_000),
  /** How often everything visible is looked through for blobs that are missing, milliseconds; default 10 minutes. */
  rescanEveryMs: z.int().min(1_000).default(600_000),
  /** How often the site's blob nodes are asked for copies that they found to be bad, milliseconds; default 1 000. */
  repairEveryMs: z.int().min(10).default(1_000),
  /** How often it is looked whether this site holds what it may not hold any more, milliseconds; default 30 000. */
  residencyEveryMs: z.int().min(100).default(30_000),
  /** How long one fetch may take in all, milliseconds; default 6 h: the blob node itself gives up on holders that stall. */
  fetchTimeoutMs: z.int().min(1_000).default(21_600_000),
  /** Blob nodes of this site that keep each blob; as in the gateways' settings. Absent: 1 with one node, else 2. */
  copies: z.int().min(1).max(7).optional(),
  /** A blob node that has not answered for so long is given up, and its blobs are copied to others, milliseconds; default 5 minutes: longer than a restart. */
  nodeLostAfterMs: z.int().min(1_000).default(300_000),
  /** How long after a push its copies are looked at, milliseconds; default 2 000. */
  copyDelayMs: z.int().min(10).default(2_000),
  /** Blobs whose copies are settled at once; default 4. */
  copiesAtOnce: z.int().min(1).max(64).default(4),
  /** Bytes a second for settling copies inside the site; default 100 MiB: leaves network and disks to pushes and pulls. */
  copyBytesPerSecond: z
    .int()
    .min(1_024)
    .default(100 * 1024 * 1024),
  /** How often each node is asked whether it holds what it is said to hold, milliseconds; default 1 hour. */
  checkCopiesEveryMs: z.int().min(1_000).default(3_600_000),
  /** How often this site is compared with those that the configuration names after it, milliseconds; default 1 hour. 0: only by `meridian diff`. */
  compareEveryMs: z.int().min(0).default(3_600_000),
  /** Whether what that finds is repaired at once; default true. */
  compareRepairs: z.boolean().default(true),
  /** Milliseconds without a peer itself after which its log is read from a third site; default 3 000. */
  relayAfterMs: z.int().min(100).default(3_000),
});

/** See {@link replicatorConfigSchema}. */
export type ReplicatorConfig = z.infer<typeof replicatorConfigSchema>;
