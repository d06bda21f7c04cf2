/** Keys of one S3 account. Never logged, never part of an error. */
export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary keys. */
  readonly sessionToken?: string;
}

/** How the bucket encrypts what is stored: passed through with every object written. */
export interface S3Encryption {
  /** `AES256`: keys of the store (SSE-S3). `aws:kms`: a key of its key service (SSE-KMS). */
  readonly type: "AES256" | "aws:kms";
  /** The key's name or ARN; with `aws:kms` only. Absent: the bucket's default key. */
  readonly keyId?: string;
}

/** Where the bucket is. */
export interface S3Place {
  /** Origin of the S3 service, as in `https://s3.eu-central-1.amazonaws.com` or `http://127.0.0.1:9000`. */
  readonly endpoint: string;
  readonly bucket: string;
  /** Put before every key, without a slash at its ends; absent: none. One node's own. */
  readonly prefix?: string;
  /** Absent: asked from the service once. */
  readonly region?: string;
  /** `https://host/bucket/key` (default) or, when false, `https://bucket.host/key`. */
  readonly pathStyle?: boolean;
  /** PEM text of the authority that signed the endpoint's certificate; absent: those that Node.js trusts. */
  readonly ca?: string;
}

/** `bucket "x" at https://host` for messages: which of many is meant. */
export function describePlace({ bucket, prefix, endpoint }: S3Place): string {
  return `bucket "${bucket}"${prefix ? ` (prefix "${prefix}")` : ""} at ${new URL(endpoint).origin}`;
}
