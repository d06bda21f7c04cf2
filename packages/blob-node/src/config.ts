import { linksSchema } from "@meridian/cluster";
import { z } from "zod";

/** Settings of a blob node. */
export const blobNodeConfigSchema = z.strictObject({
  /** Where its byte listener binds; port 0 takes any free one. */
  bytes: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) }),
  /** Fetches that nobody waits for, at once; default 4: they leave the link and the disk to pulls. */
  backgroundFetches: z.int().min(1).max(64).default(4),
  /** Fetches that a client waits for, at once; default 64: bounds files and connections, not work. */
  pullFetches: z.int().min(1).max(1024).default(64),
  /** A holder that sends nothing for so long is replaced, milliseconds; default 2 000: several round trips of any link. */
  stallTimeoutMs: z.int().min(50).max(60_000).default(2_000),
  /** How long a replica that sent wrong bytes is not asked again, milliseconds; default 10 minutes: time to scrub it. */
  quarantineMs: z.int().min(1_000).default(600_000),
  /** An upload's body, or a reader, without progress for so long is ended, milliseconds; default 60 000. */
  bodyIdleMs: z.int().min(100).default(60_000),
  /** Rates and windows of the links from other sites; default: none. The same in every process of a site. */
  links: linksSchema.default({}),
  /** Memory for blobs of up to 256 KiB that are read often, bytes; default 64 MiB. 0 keeps none. */
  smallBlobCacheBytes: z
    .int()
    .min(0)
    .default(64 * 1024 * 1024),
  /** Re-hashing of what is stored. */
  scrub: z
    .strictObject({
      /** Bytes a second, at most; a quarter of it beside readers. Default 20 000 000: 1 TB in 14 hours, about 2 % of a core. */
      bytesPerSecond: z.int().min(1_000).default(20_000_000),
      /** From the beginning of one pass to that of the next, milliseconds; default 7 days. */
      periodMs: z
        .int()
        .min(1_000)
        .default(7 * 24 * 3_600_000),
      /** How long after a start it begins, or goes on, milliseconds; default 60 000: starting is work enough. */
      firstAfterMs: z.int().min(10).default(60_000),
    })
    .prefault({}),
});

/** See {@link blobNodeConfigSchema}. */
export type BlobNodeConfig = z.infer<typeof blobNodeConfigSchema>;
