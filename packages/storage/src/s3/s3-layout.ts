import { type Digest, digestAlgorithm, digestHex, tryParseDigest } from "@meridian/oci";

/**
 * Where everything is, below the prefix:
 *
 *     format                              {"format":1,"owner":"eu/site"}: one node's alone
 *     blobs/sha256/aa/aa0123…             the blob: complete and hashed before it got this name
 *     blobs/sha512/…
 *     uploads/<id>/state                  how far it is synced and which segments those bytes are, see s3-upload-state.ts
 *     uploads/<id>/assembling             the multipart upload that is to become the blob
 *     uploads/<id>/<segment>              a piece of the bytes so far, up to 8 MiB
 *     quarantine/sha256/aa0123…           a blob that turned out not to hash to its name
 *     probe/<name>                        of a health check
 *
 * What is atomic in S3: a PUT, a copy and the completion of a multipart upload, each for its one key. So a blob is there
 * from one moment to the next, and every step before leaves only what is below `uploads/`, or parts that no key shows:
 *
 *     crash after                         leaves                                        who clears it
 *     begin                               state at 0                                    a commit, a cancel, or the sweep after 7 days
 *     segments, before the sync           segments that no state names                  the sweep at start
 *     sync                                an upload that resumes                        a commit, a cancel, or the sweep after 7 days
 *     some copied parts of the commit     the same, and parts                           the sweep at start aborts them
 *     the commit, before the removal      the blob, and an upload that may resume       as after a sync
 *     the removal of the state            segments that no state names                  the sweep at start
 */
export class S3Layout {
  readonly #root: string;

  constructor(prefix: string | undefined) {
    this.#root = prefix ? `${prefix}/` : "";
  }

  get format(): string {
    return `${this.#root}format`;
  }

  get blobs(): string {
    return `${this.#root}blobs/`;
  }

  get uploads(): string {
    return `${this.#root}uploads/`;
  }

  blob(digest: Digest): string {
    const hex = digestHex(digest);
    return `${this.blobs}${digestAlgorithm(digest)}/${hex.slice(0, 2)}/${hex}`;
  }

  /** The digest whose blob has this key, or undefined when no blob has. */
  digestAt(key: string): Digest | undefined {
    const [algorithm = "", , hex = ""] = key.slice(this.blobs.length).split("/");
    const digest = tryParseDigest(`${algorithm}:${hex}`);
    return digest !== undefined && this.blob(digest) === key ? digest : undefined;
  }

  get quarantine(): string {
    return `${this.#root}quarantine/`;
  }

  quarantined(digest: Digest): string {
    return `${this.quarantine}${digestAlgorithm(digest)}/${digestHex(digest)}`;
  }

  /** The digest of the wrong blob that has this key, or undefined when none has. */
  quarantinedAt(key: string): Digest | undefined {
    const digest = tryParseDigest(key.slice(this.quarantine.length).replace("/", ":"));
    return digest !== undefined && this.quarantined(digest) === key ? digest : undefined;
  }

  probe(name: string): string {
    return `${this.#root}probe/${name}`;
  }

  /** The id has been checked: it is a plain name. */
  upload(id: string): S3UploadKeys {
    return new S3UploadKeys(`${this.uploads}${id}/`);
  }

  /** The upload that a key belongs to, and its name therein; undefined for a key of no upload. */
  uploadAt(key: string): { readonly id: string; readonly name: string } | undefined {
    const [, id, name] = /^([A-Za-z0-9_-]{1,128})\/(.+)$/.exec(key.slice(this.uploads.length)) ?? [];
    return id === undefined || name === undefined || !key.startsWith(this.uploads) ? undefined : { id, name };
  }
}

/** The keys of one upload. */
export class S3UploadKeys {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  get state(): string {
    return `${this.#folder}state`;
  }

  get assembling(): string {
    return `${this.#folder}assembling`;
  }

  segment(name: string): string {
    return `${this.#folder}${name}`;
  }
}
