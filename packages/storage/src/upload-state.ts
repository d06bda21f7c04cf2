import { constants, type FileHandle, open, readFile } from "node:fs/promises";
import type { DigestAlgorithm } from "@meridian/oci";
import { errorCode } from "./file-error.ts";
import type { ResumePoint } from "./upload-bytes.ts";

/**
 * The state file: one line of fixed length, so that writing it again never leaves a mixture.
 *
 *     1 sha256 0000000001048576
 *     │ │      └ bytes of the upload that are synced: where a resume begins
 *     │ └ what the upload is hashed with
 *     └ format
 */
const LINE = /^1 (sha256|sha512) (\d{16})\n$/;

/** Undefined when there is none, or none that can be read: then nothing was ever synced. */
export async function readUploadState(path: string): Promise<ResumePoint | undefined> {
  try {
    const [, algorithm, offset] = LINE.exec(await readFile(path, "latin1")) ?? [];
    return offset === undefined ? undefined : { algorithm: algorithm as DigestAlgorithm, offset: Number(offset) };
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes a state file, made at its first writing. */
export class UploadStateFile {
  readonly #path: string;
  #opened: Promise<FileHandle> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Makes the file, still empty, when it is missing. */
  open(): Promise<FileHandle> {
    // Neither "r+", which makes none, nor "w", which would empty it.
    this.#opened ??= open(this.#path, constants.O_RDWR | constants.O_CREAT, 0o600);
    return this.#opened;
  }

  /** Survives the end of the process; {@link UploadStateFile.sync} makes it survive a power loss. */
  async write({ algorithm, offset }: ResumePoint): Promise<void> {
    const handle = await this.open();
    const line = Buffer.from(`1 ${algorithm} ${String(offset).padStart(16, "0")}\n`, "latin1");
    await handle.write(line, 0, line.length, 0);
  }

  async sync(): Promise<void> {
    await (await this.open()).datasync();
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    await (await opened?.catch(() => undefined))?.close();
  }
}
