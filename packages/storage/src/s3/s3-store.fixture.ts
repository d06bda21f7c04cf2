import { createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import type { BlobStore } from "../blob-store.ts";
import type { BlobStoreFixture } from "../contract.ts";
import { silent } from "../filesystem-fixture.ts";
import { MINIO_CREDENTIALS, type Minio } from "./minio.fixture.ts";
import { S3Bucket } from "./s3-bucket.ts";
import { createS3Client } from "./s3-client.ts";
import type { S3Place } from "./s3-settings.ts";
import { openS3Store, type S3StoreOptions } from "./s3-store.ts";

const parts = { clock: createSystemClock(), timers: systemTimers, random: systemRandom };

/** Opens a store in a bucket, which is made when missing. */
export function openStoreAt(place: S3Place, more: Partial<S3StoreOptions> = {}): Promise<BlobStore> {
  const credentials = async () => MINIO_CREDENTIALS;
  return openS3Store({ place, credentials, owner: "eu/site", createBucket: true, ...parts, log: silent, ...more });
}

/** The bucket itself, for looking into it and breaking it. */
export function bucketAt(place: S3Place): S3Bucket & Disposable {
  const connection = createS3Client({ place, credentials: async () => MINIO_CREDENTIALS, idleMs: 10_000 });
  const bucket = new S3Bucket({ client: connection.client, place, ...parts });
  return Object.assign(bucket, { [Symbol.dispose]: () => connection[Symbol.dispose]() });
}

/** The keys in a bucket below a prefix. */
export async function keysIn(place: S3Place, prefix = ""): Promise<string[]> {
  using bucket = bucketAt(place);
  const listed = await Array.fromAsync(bucket.list(prefix, { doing: "list" }));
  return listed.map(({ key }) => key);
}

/** A store in a bucket of its own. */
export async function s3Fixture(minio: Minio, more: Partial<S3StoreOptions> = {}): Promise<BlobStoreFixture> {
  const place = minio.newPlace();
  let current = await openStoreAt(place, more);
  return {
    store: current,
    async reopen() {
      await current[Symbol.asyncDispose]();
      current = await openStoreAt(place, more);
      return current;
    },
    [Symbol.asyncDispose]: () => current[Symbol.asyncDispose](),
  };
}
