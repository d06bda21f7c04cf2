import { z } from "zod";

const DAY_MS = 86_400_000;

/** What is kept although nothing needs it any more (consistency.md §7). The same in every process of every site. */
export const collectionConfigSchema = z.strictObject({
  /** How long a client that was told of a blob may take until it pushes the manifest, in milliseconds; default 24 h. */
  pinMs: z.int().min(1).default(DAY_MS),
  /** How long links, signatures without their subject, and bytes stay after something last needed them, in milliseconds; default 24 h. */
  graceMs: z.int().min(1).default(DAY_MS),
  /** Deletions older than this are dropped once every member confirmed that nothing of their keys lives anywhere, in milliseconds; default 7 days. */
  retireAfterMs: z
    .int()
    .min(1)
    .default(7 * DAY_MS),
  /** From the end of one pass to the next, in milliseconds; default 1 hour. 0: only when told to. */
  everyMs: z.int().min(0).default(3_600_000),
  /** Blobs removed in a second at most, by one site; default 5 000, links counted too. `meridian gc --rate` changes it for a site. */
  blobsPerSecond: z.int().min(1).max(1_000_000).default(5_000),
});

/** See {@link collectionConfigSchema}. */
export type CollectionConfig = z.infer<typeof collectionConfigSchema>;
