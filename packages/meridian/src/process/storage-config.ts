import { isIP } from "node:net";
import { z } from "zod";

const path = z.string().min(1);

/** A bucket of S3 or of a store that speaks its protocol, as MinIO does. */
const s3Schema = z.strictObject({
  /** Origin of the service: `https://s3.eu-central-1.amazonaws.com`, `http://127.0.0.1:9000`. */
  endpoint: z
    .url({ protocol: /^https?$/ })
    .refine((text) => new URL(text).pathname === "/", "is an origin, without a path"),
  /** Must exist, and be this node's own (or the prefix must be). */
  bucket: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "is no bucket name: 3 to 63 of a-z, 0-9, dots and dashes"),
  /** Put before every key, so that nodes share a bucket. Default: none. */
  prefix: z
    .string()
    .regex(/^[A-Za-z0-9_-]+(\/[A-Za-z0-9_-]+)*$/, "is names of A-Z, a-z, 0-9, _ and -, with slashes between them")
    .max(256)
    .optional(),
  /** Default: asked from the service. */
  region: z.string().min(1).optional(),
  /** `https://host/bucket/key`; false: `https://bucket.host/key`. Default true; Amazon is always asked the second way. */
  pathStyle: z.boolean().default(true),
  /** Files with the credentials, read again when they change. Default: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. */
  accessKeyFile: path.optional(),
  secretKeyFile: path.optional(),
  sessionTokenFile: path.optional(),
  /** PEM file of the authority that signed the endpoint's certificate. Default: those that Node.js trusts. */
  caFile: path.optional(),
  /** How the store encrypts what is written. Default: as the bucket is set up. */
  sse: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("AES256") }),
      /** `keyId`: name or ARN of the key; default: the bucket's. */
      z.strictObject({ type: z.literal("aws:kms"), keyId: z.string().min(1).optional() }),
    ])
    .optional(),
  /** Send clients that pull a large blob to the bucket, by a signed URL that lives for at most `gateway.maxStalenessMs`. Default false: the bytes go through the gateway, checked. */
  redirect: z.boolean().default(false),
  /** Make the bucket when it is missing: set by the dev supervisor. */
  createBucket: z.boolean().default(false),
});

/** Where a blob node keeps its bytes: in a bucket, or (default) in files below `dataDir`. */
export const storageSchema = z
  .strictObject({ s3: s3Schema.optional() })
  .check(({ value, issues }) => {
    const { s3 } = value;
    if (s3 !== undefined && (s3.accessKeyFile === undefined) !== (s3.secretKeyFile === undefined)) {
      const message = "accessKeyFile and secretKeyFile go together";
      issues.push({ code: "custom", input: value, path: ["s3"], message });
    }
    if (s3?.redirect) {
      const { protocol, hostname } = new URL(s3.endpoint);
      const message = "needs an https endpoint with a name, which clients reach (http://localhost for trying it)";
      const isFit = hostname === "localhost" || (protocol === "https:" && !isAddress(hostname));
      if (!isFit) issues.push({ code: "custom", input: value, path: ["s3", "redirect"], message });
    }
  })
  .prefault({});

function isAddress(hostname: string): boolean {
  return isIP(hostname.replace(/^\[|\]$/g, "")) !== 0;
}

/** See {@link storageSchema}. */
export type S3Config = z.infer<typeof s3Schema>;
