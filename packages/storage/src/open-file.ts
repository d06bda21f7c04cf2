import { closeSync, fdatasync, fstatSync, ftruncate, open, type Stats, write } from "node:fs";

/**
 * A file by its plain descriptor. What goes to the disk goes by node's threads, without the promises of a FileHandle,
 * which cost several times as much; what the kernel answers from memory is asked here, since the way to another thread
 * and back costs ten times as much as the answer.
 */
export class OpenFile {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** `flags` as fs.open takes them; a new file is for its owner alone. */
  static open(path: string, flags: string): Promise<OpenFile> {
    return new Promise((resolve, reject) => {
      open(path, flags, 0o600, (error, fd) => (error === null ? resolve(new OpenFile(fd)) : reject(error)));
    });
  }

  /** -1 once it is closed: every call with it fails. */
  get fd(): number {
    return this.#fd;
  }

  /** Resolves with the number of bytes written, which may be fewer. */
  write(bytes: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const done = (error: Error | null, written: number): void => (error === null ? resolve(written) : reject(error));
      write(this.#fd, bytes, 0, bytes.byteLength, position, done);
    });
  }

  /** The bytes, and the length when it has grown, survive a power loss. */
  datasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fdatasync(this.#fd, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  truncate(length: number): Promise<void> {
    return new Promise((resolve, reject) => {
      ftruncate(this.#fd, length, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  stat(): Stats {
    return fstatSync(this.#fd);
  }

  /** Nothing may be under way. Idempotent. */
  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) closeSync(fd);
  }
}
