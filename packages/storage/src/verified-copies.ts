import type { Stats } from "node:fs";
import type { Digest } from "@meridian/oci";

/** About 8 MB when full. */
const MAX_REMEMBERED = 32_768;

/** Names a file's content as long as nothing writes to it: every write changes its times. */
export function fileState({ ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
}

/** Which copies have been hashed since this process started, and have not changed since. */
export class VerifiedCopies {
  readonly #states = new Map<Digest, string>();

  has(digest: Digest, state: string): boolean {
    return this.#states.get(digest) === state;
  }

  add(digest: Digest, state: string): void {
    this.#states.delete(digest);
    this.#states.set(digest, state);
    if (this.#states.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#states.keys()) {
      this.#states.delete(oldest);
      return;
    }
  }

  delete(digest: Digest): void {
    this.#states.delete(digest);
  }
}
