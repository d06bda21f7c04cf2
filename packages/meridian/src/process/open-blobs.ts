import { readFileSync } from "node:fs";
import { nodeName } from "@meridian/cluster";
import { systemRandom as random, systemTimers as timers } from "@meridian/runtime";
import { type BlobStore, openFilesystemStore } from "@meridian/storage";
import { usageError } from "../exit-status.ts";
import type { Foundation } from "./foundation.ts";
import { s3Credentials } from "./s3-credentials.ts";
import type { S3Config } from "./storage-config.ts";

/** Opens what the blob node keeps its bytes in. The S3 client is loaded only when a bucket is configured. */
export async function openBlobs({ clock, log, loaded, identity, onStep }: Foundation): Promise<BlobStore> {
  const { s3 } = loaded.config.storage;
  if (s3 === undefined) return openFilesystemStore({ root: identity.folder("blobs"), clock, timers, log, onStep });
  const credentials = await s3Credentials(s3, { env: process.env, clock });
  const { openS3Store } = await import("@meridian/storage/s3");
  const { endpoint, bucket, prefix, region, pathStyle, sse, redirect, createBucket } = s3;
  return openS3Store({
    place: { endpoint, bucket, prefix, region, pathStyle, ca: authorityOf(s3) },
    credentials,
    encryption: sse,
    owner: nodeName(identity.topology),
    links: redirect,
    createBucket,
    ...{ clock, timers, random, log },
  });
}

function authorityOf({ caFile }: S3Config): string | undefined {
  if (caFile === undefined) return undefined;
  try {
    return readFileSync(caFile, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw usageError(`storage.s3.caFile: ${caFile} cannot be read (${code})`, { cause: error });
  }
}
