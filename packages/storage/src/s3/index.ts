export type { S3Credentials, S3Encryption, S3Place } from "./s3-settings.ts";
export { openS3Store, type S3StoreOptions } from "./s3-store.ts";
