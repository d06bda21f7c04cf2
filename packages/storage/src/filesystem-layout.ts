import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ContentError, type Digest, digestAlgorithm, digestHex, tryParseDigest } from "@meridian/oci";
import type { DirectorySync } from "./directory-sync.ts";
import { errorCode, fileError } from "./file-error.ts";

/** No upload's id holds a dot. */
export const STATE_SUFFIX = ".state";

/** What this package writes into `format`; raised when a file's place or meaning changes. */
const FORMAT = 1;

/**
 * Where everything is:
 *
 *     <root>/
 *       format                          {"format":1}
 *       blobs/
 *         sha256/
 *           aa/                         first two digits of the hash
 *             aa0123…                   the blob: complete, hashed, fsynced before it got this name
 *         sha512/…
 *       uploads/
 *         <id>                          bytes of an upload so far; becomes the blob by a rename
 *         <id>.state                    how far they are synced, see upload-state.ts; made by the first sync
 *         .put-…                        content on its way into place in one step
 *         .probe-…                      of a health check
 *       quarantine/
 *         sha256-aa0123…-<ms>           a copy that was found to be wrong, and when (Unix epoch); for the operator
 */
export class FilesystemLayout {
  readonly root: string;
  readonly blobs: string;
  readonly uploads: string;
  readonly quarantine: string;
  readonly #made = new Set<string>();
  #puts = 0;
  readonly #directories: DirectorySync;

  constructor(root: string, directories: DirectorySync) {
    this.root = root;
    this.blobs = join(root, "blobs");
    this.uploads = join(root, "uploads");
    this.quarantine = join(root, "quarantine");
    this.#directories = directories;
  }

  blob(digest: Digest): string {
    const hex = digestHex(digest);
    return join(this.blobs, digestAlgorithm(digest), hex.slice(0, 2), hex);
  }

  /** The id has been checked: it is a plain name. */
  upload(id: string): string {
    return join(this.uploads, id);
  }

  uploadState(id: string): string {
    return join(this.uploads, `${id}${STATE_SUFFIX}`);
  }

  /** A new name for content that is written in one step; none of an upload. */
  unfinishedPut(): string {
    return join(this.uploads, `.put-${process.pid}-${this.#puts++}`);
  }

  /** The digest whose blob has this place, or undefined when no blob has. */
  digestAt(algorithm: string, prefix: string, name: string): Digest | undefined {
    return name.startsWith(prefix) ? tryParseDigest(`${algorithm}:${name}`) : undefined;
  }

  /** Makes the folders and the format mark, or checks it. @throws ContentError `unavailable`, `no-space`. */
  async prepare(): Promise<void> {
    try {
      await mkdir(this.root, { recursive: true, mode: 0o700 });
      await this.#checkFormat();
      for (const folder of [join(this.blobs, "sha256"), join(this.blobs, "sha512"), this.uploads]) {
        await this.makeFolder(folder);
      }
      await this.#makePrefixes(join(this.blobs, "sha256"));
    } catch (error) {
      throw fileError(error, "keep blobs", this.root);
    }
  }

  /** Makes a folder below the root, durably, unless this process knows that it is there. */
  async makeFolder(path: string): Promise<void> {
    if (this.#made.has(path)) return;
    const parent = dirname(path);
    if (parent !== this.root) await this.makeFolder(parent);
    await mkdir(path, { recursive: true, mode: 0o700 });
    await this.#directories.sync(parent);
    this.#made.add(path);
  }

  /** All folders of an algorithm at once, with one fsync: made on demand, each would cost the push that needs it one. */
  async #makePrefixes(folder: string): Promise<void> {
    const there = new Set(await readdir(folder));
    const wanted = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0"));
    const make = async (prefix: string): Promise<void> => {
      if (!there.has(prefix)) await mkdir(join(folder, prefix), { mode: 0o700 });
    };
    const made = await Promise.allSettled(wanted.map(make));
    await this.#directories.sync(folder);
    // One that could not be made, as on a full disk, is tried again by the push that needs it.
    for (const [i, { status }] of made.entries()) if (status === "fulfilled") this.#made.add(join(folder, wanted[i]!));
  }

  async #checkFormat(): Promise<void> {
    const path = join(this.root, "format");
    const text = await readFile(path, "utf8").catch((error: unknown) => {
      if (errorCode(error) === "ENOENT") return undefined;
      throw error;
    });
    if (text === undefined) {
      await rm(`${path}.new`, { force: true });
      await writeFile(`${path}.new`, `${JSON.stringify({ format: FORMAT })}\n`, { flush: true, mode: 0o600 });
      await rename(`${path}.new`, path);
      await this.#directories.sync(this.root);
      return;
    }
    const format = formatIn(text);
    if (format === FORMAT) return;
    const problem =
      format === undefined ? "an unreadable format mark" : `format ${format}, this program knows ${FORMAT}`;
    throw new ContentError("unavailable", `the blob folder ${this.root} has ${problem}`);
  }
}

function formatIn(text: string): number | undefined {
  try {
    const { format } = JSON.parse(text) as { format?: unknown };
    return typeof format === "number" ? format : undefined;
  } catch {
    return undefined;
  }
}
