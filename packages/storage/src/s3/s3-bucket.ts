import type { IncomingMessage } from "node:http";
import { ContentError } from "@meridian/oci";
import type { Client } from "minio";
import { isMissing, s3Code, s3Error } from "./s3-error.ts";
import { S3Retry, type S3RetryParts } from "./s3-retry.ts";
import type { S3Encryption, S3Place } from "./s3-settings.ts";

/** An object as a listing names it. */
export interface ListedObject {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** Unix epoch, milliseconds. */
  readonly modifiedAt: number;
}

/** A multipart upload that was neither completed nor aborted. */
export interface UnfinishedUpload {
  readonly key: string;
  readonly uploadId: string;
}

/** What a bucket is made of. */
export interface S3BucketOptions extends S3RetryParts {
  readonly client: Client;
  readonly place: S3Place;
  readonly encryption?: S3Encryption;
  /** How long writes, removals and listings are tried again, in milliseconds; 10 000 when absent: answers start within 20 s. */
  readonly retryForMs?: number;
  /** The same for looking something up and reading, 2 000 when absent: another holder may have it. */
  readonly readRetryForMs?: number;
}

interface Request {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  readonly key?: string;
  readonly query?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Buffer;
  readonly statuses?: number[];
}

/** How one request is made. */
interface Doing {
  /** For messages: "store a blob". */
  readonly doing: string;
  readonly signal?: AbortSignal;
}

/** One bucket: its requests, each tried again while that may help, with errors in the operator's words. */
export class S3Bucket {
  readonly place: S3Place;
  readonly #client: Client;
  readonly #retry: S3Retry;
  readonly #writeMs: number;
  readonly #readMs: number;
  readonly #encryption: Record<string, string>;

  constructor({ client, place, encryption, retryForMs = 10_000, readRetryForMs = 2_000, ...parts }: S3BucketOptions) {
    this.place = place;
    this.#client = client;
    this.#retry = new S3Retry(parts);
    this.#writeMs = retryForMs;
    this.#readMs = readRetryForMs;
    this.#encryption = encryptionHeaders(encryption);
  }

  /** Stores an object in one step: it is there as a whole, durably, or not at all. */
  async put(key: string, body: Buffer, { doing }: Doing): Promise<void> {
    await this.#write(doing, { method: "PUT", key, body, headers: { ...OCTETS, ...this.#encryption } });
  }

  /** Stores an object that must not be there yet. `isOwn`: whether what is there came from this call, its answer lost. @throws ContentError `conflict`. */
  async putNew(key: string, body: Buffer, { doing }: Doing): Promise<void> {
    const headers = { ...OCTETS, ...this.#encryption, "if-none-match": "*" };
    let attempts = 0;
    try {
      await this.#try(doing, this.#writeMs, undefined, async () => {
        attempts++;
        await drained(await this.#request({ method: "PUT", key, body, headers }));
      });
    } catch (error) {
      if (!(error instanceof ContentError) || s3Code(error.cause) !== "PreconditionFailed") throw error;
      // An attempt before this one may have come through without its answer.
      const there = attempts > 1 ? await this.get(key, { doing }) : undefined;
      if (there?.equals(body) !== true) throw new ContentError("conflict", `cannot ${doing}: it exists already`);
    }
  }

  /** The size of an object; undefined when it is missing. */
  size(key: string, { doing }: Doing): Promise<number | undefined> {
    return this.#orMissing(doing, async () => {
      const response = await drained(await this.#request({ method: "HEAD", key }));
      return Number(response.headers["content-length"] ?? 0);
    });
  }

  /** A small object as a whole; undefined when it is missing. */
  get(key: string, { doing }: Doing): Promise<Buffer | undefined> {
    return this.#orMissing(doing, async () => readAll(await this.#request({ method: "GET", key })));
  }

  /** One attempt at the bytes `start` to `end` (exclusive) as they come: who reads them tries again from where they stopped. */
  open(key: string, { start, end }: { start: number; end: number }): Promise<IncomingMessage> {
    return this.#request({ method: "GET", key, headers: { range: `bytes=${start}-${end - 1}` }, statuses: [200, 206] });
  }

  /** Tries again what reads, for as long as reading is tried again. `progress`: see {@link S3Retry.run}. */
  reading<T>(attempt: () => Promise<T>, { doing, signal, progress }: Doing & { progress: () => number }): Promise<T> {
    return this.#try(doing, this.#readMs, signal, attempt, progress);
  }

  /** Removes objects; those that are missing are no matter. */
  async remove(keys: readonly string[], { doing }: Doing): Promise<void> {
    if (keys.length === 1) {
      await this.#write(doing, { method: "DELETE", key: keys[0] as string, statuses: [200, 204] });
      return;
    }
    if (keys.length > 0) {
      await this.#try(doing, this.#writeMs, undefined, () => this.#client.removeObjects(this.place.bucket, [...keys]));
    }
  }

  /** Every object whose key begins so, in the order of their keys; `after`: only those behind that key. */
  async *list(prefix: string, { doing, after = "" }: Doing & { after?: string }): AsyncGenerator<ListedObject> {
    for (let token = ""; ; ) {
      const page = await this.#try(doing, this.#writeMs, undefined, () =>
        this.#client.listObjectsV2Query(this.place.bucket, prefix, token, "", 1000, token === "" ? after : ""),
      );
      for (const { name, size, lastModified } of page.objects) {
        if (name !== undefined) yield { key: name, size, modifiedAt: lastModified?.getTime() ?? 0 };
      }
      if (!page.isTruncated || page.nextContinuationToken === "") return;
      token = page.nextContinuationToken;
    }
  }

  /** Copies an object inside the store: the new one is there as a whole or not at all. */
  async copy(from: string, to: string, { doing }: Doing): Promise<void> {
    const headers = { ...this.#encryption, "x-amz-copy-source": this.#source(from) };
    await this.#try(doing, this.#writeMs, undefined, async () => {
      entityTagIn(await readAll(await this.#request({ method: "PUT", key: to, headers })));
    });
  }

  beginMultipart(key: string, { doing }: Doing): Promise<string> {
    return this.#try(doing, this.#writeMs, undefined, () =>
      this.#client.initiateNewMultipartUpload(this.place.bucket, key, { ...OCTETS, ...this.#encryption }),
    );
  }

  /** Uploads a part; resolves with its entity tag. */
  async putPart(to: UnfinishedUpload, part: number, body: Buffer, { doing }: Doing): Promise<string> {
    const response = await this.#write(doing, { method: "PUT", key: to.key, query: partQuery(to, part), body });
    return bareTag(response.headers.etag);
  }

  /** Copies a part of another object into a part; resolves with its entity tag. */
  copyPart(
    to: UnfinishedUpload,
    part: number,
    from: { readonly key: string; readonly end?: number },
    { doing }: Doing,
  ): Promise<string> {
    const headers: Record<string, string> = { "x-amz-copy-source": this.#source(from.key) };
    if (from.end !== undefined) headers["x-amz-copy-source-range"] = `bytes=0-${from.end - 1}`;
    return this.#try(doing, this.#writeMs, undefined, async () =>
      entityTagIn(
        await readAll(await this.#request({ method: "PUT", key: to.key, query: partQuery(to, part), headers })),
      ),
    );
  }

  /** Makes the object of its parts: it is there as a whole from one moment to the next. */
  async completeMultipart(
    to: UnfinishedUpload,
    tags: readonly string[],
    size: number,
    { doing }: Doing,
  ): Promise<void> {
    const parts = tags.map((etag, index) => ({ part: index + 1, etag }));
    try {
      await this.#try(doing, this.#writeMs, undefined, () =>
        this.#client.completeMultipartUpload(this.place.bucket, to.key, to.uploadId, parts),
      );
    } catch (error) {
      // Completed by an attempt whose answer was lost: nobody but the caller ends this upload.
      const isGone = error instanceof ContentError && s3Code(error.cause) === "NoSuchUpload";
      if (!isGone || (await this.size(to.key, { doing })) !== size) throw error;
    }
  }

  /** Lets go of the parts of an upload; one that is gone is no matter. */
  async abortMultipart({ key, uploadId }: UnfinishedUpload, { doing }: Doing): Promise<void> {
    try {
      await this.#write(doing, { method: "DELETE", key, query: `uploadId=${uploadId}`, statuses: [200, 204] });
    } catch (error) {
      if (!(error instanceof ContentError) || s3Code(error.cause) !== "NoSuchUpload") throw error;
    }
  }

  /** Multipart uploads under way below a prefix. MinIO names only those of the very key that is asked for. */
  async unfinishedUploads(prefix: string, { doing }: Doing): Promise<UnfinishedUpload[]> {
    const found: UnfinishedUpload[] = [];
    for (let keyMarker = "", idMarker = ""; ; ) {
      const page = await this.#try(doing, this.#writeMs, undefined, () =>
        this.#client.listIncompleteUploadsQuery(this.place.bucket, prefix, keyMarker, idMarker, ""),
      );
      found.push(...page.uploads.map(({ key, uploadId }) => ({ key, uploadId })));
      if (!page.isTruncated) return found;
      keyMarker = page.nextKeyMarker;
      idMarker = page.nextUploadIdMarker;
    }
  }

  /** A URL by which anybody may read the object for so many seconds. */
  signedUrl(key: string, seconds: number): Promise<string> {
    return this.#try("sign a URL", this.#readMs, undefined, () =>
      this.#client.presignedGetObject(this.place.bucket, key, seconds),
    );
  }

  exists({ doing, signal }: Doing): Promise<boolean> {
    return this.#try(doing, this.#readMs, signal, () => this.#client.bucketExists(this.place.bucket));
  }

  /** Makes the bucket; one that this account has already is no matter. */
  async create(): Promise<void> {
    try {
      await this.#try("create the bucket", this.#writeMs, undefined, () =>
        this.#client.makeBucket(this.place.bucket, this.place.region ?? ""),
      );
    } catch (error) {
      const code = error instanceof ContentError ? s3Code(error.cause) : undefined;
      if (code !== "BucketAlreadyOwnedByYou") throw error;
    }
  }

  #source(key: string): string {
    return `/${this.place.bucket}/${encodeURI(key)}`;
  }

  async #write(doing: string, request: Request): Promise<IncomingMessage> {
    return this.#try(doing, this.#writeMs, undefined, async () => drained(await this.#request(request)));
  }

  #orMissing<T>(doing: string, attempt: () => Promise<T>): Promise<T | undefined> {
    return this.#try(doing, this.#readMs, undefined, async () => {
      try {
        return await attempt();
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    });
  }

  async #try<T>(
    doing: string,
    forMs: number,
    signal: AbortSignal | undefined,
    attempt: () => Promise<T>,
    progress?: () => number,
  ): Promise<T> {
    try {
      return await this.#retry.run(attempt, { forMs, progress, signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw s3Error(error, doing, this.place);
    }
  }

  #request({ method, key, query = "", headers = {}, body, statuses = [200] }: Request): Promise<IncomingMessage> {
    const options = { method, bucketName: this.place.bucket, objectName: key, query, headers: { ...headers } };
    return this.#client.makeRequestAsync(options, body ?? "", statuses);
  }
}

const OCTETS = { "content-type": "application/octet-stream" };

function encryptionHeaders(encryption: S3Encryption | undefined): Record<string, string> {
  if (encryption === undefined) return {};
  const headers: Record<string, string> = { "x-amz-server-side-encryption": encryption.type };
  if (encryption.keyId !== undefined) headers["x-amz-server-side-encryption-aws-kms-key-id"] = encryption.keyId;
  return headers;
}

function partQuery({ uploadId }: UnfinishedUpload, part: number): string {
  return `partNumber=${part}&uploadId=${encodeURIComponent(uploadId)}`;
}

async function drained(response: IncomingMessage): Promise<IncomingMessage> {
  response.resume();
  if (!response.complete) await new Promise((resolve, reject) => response.once("end", resolve).once("error", reject));
  return response;
}

const MAX_SMALL_OBJECT_BYTES = 16 * 1024 * 1024;

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_SMALL_OBJECT_BYTES) throw new ContentError("unavailable", "an object is larger than it can be");
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}

/** A copy may fail after its 200 has been sent: only the tag says that it did not. */
function entityTagIn(answer: Buffer): string {
  const text = answer.toString("utf8");
  const tag = /<ETag>(?:&quot;|&#34;|")?([^<&"]{1,256})/.exec(text)?.[1];
  if (tag !== undefined) return tag;
  const code = /<Code>([A-Za-z]{1,64})<\/Code>/.exec(text)?.[1] ?? "InternalError";
  throw Object.assign(new Error("the copy was not made"), { code });
}

function bareTag(tag: string | undefined): string {
  return (tag ?? "").replaceAll('"', "");
}
