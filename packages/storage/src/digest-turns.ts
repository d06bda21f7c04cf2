import type { Digest } from "@meridian/oci";

/** Runs what changes one blob's place one after another. */
export class DigestTurns {
  readonly #last = new Map<Digest, Promise<unknown>>();

  async run<T>(digest: Digest, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(digest);
    const turn = before === undefined ? work() : before.then(work);
    const settled = turn.catch(() => undefined);
    this.#last.set(digest, settled);
    try {
      return await turn;
    } finally {
      if (this.#last.get(digest) === settled) this.#last.delete(digest);
    }
  }
}
