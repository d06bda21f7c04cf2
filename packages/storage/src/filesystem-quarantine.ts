import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, digestAlgorithm, digestHex, tryParseDigest } from "@meridian/oci";
import type { QuarantinedCopy } from "./blob-checks.ts";
import { errorCode } from "./file-error.ts";
import type { FilesystemLayout } from "./filesystem-layout.ts";

const NAME = /^(sha256|sha512)-([0-9a-f]+)-(\d{1,16})$/;

/** Copies moved aside, below `quarantine/`. */
export class FilesystemQuarantine {
  readonly #layout: FilesystemLayout;

  constructor(layout: FilesystemLayout) {
    this.#layout = layout;
  }

  /**
   * Moves whatever has the blob's name there; false when nothing has. Not fsynced: what a power loss brings back is
   * found again.
   */
  async take(digest: Digest, at: number): Promise<boolean> {
    const name = `${digestAlgorithm(digest)}-${digestHex(digest)}-${Math.floor(at)}`;
    const move = () => rename(this.#layout.blob(digest), join(this.#layout.quarantine, name));
    try {
      await move();
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error;
      // Either there is nothing to move, or nowhere to move it to.
      await mkdir(this.#layout.quarantine, { recursive: true, mode: 0o700 });
      return await move().then(
        () => true,
        (again: unknown) => {
          if (errorCode(again) === "ENOENT") return false;
          throw again;
        },
      );
    }
    return true;
  }

  async *list(): AsyncGenerator<QuarantinedCopy> {
    const names = await readdir(this.#layout.quarantine).catch((error: unknown) => {
      if (errorCode(error) === "ENOENT") return [];
      throw error;
    });
    for (const name of names) {
      const [, algorithm, hex, at] = NAME.exec(name) ?? [];
      const digest = tryParseDigest(`${algorithm}:${hex}`);
      if (digest !== undefined) yield { digest, at: Number(at), path: join(this.#layout.quarantine, name) };
    }
  }

  /** Removes what was moved there before that time (Unix epoch, milliseconds). */
  async sweep(olderThan: number): Promise<void> {
    for await (const { at, path } of this.list()) if (at < olderThan) await rm(path, { recursive: true, force: true });
  }
}
