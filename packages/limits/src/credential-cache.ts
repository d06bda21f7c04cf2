import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock } from "@meridian/runtime";
import type { NoteCache } from "./limit-store.ts";

/**
 * Remembers for a short while whether a credential was right, so that asking again costs no argon2id. Neither the
 * credential nor anything that it could be tried against leaves this object: it is asked by a keyed hash, and what is kept
 * carries a keyed hash of its own, so that whoever can write to the store cannot make a wrong credential right.
 */
export class CredentialCache {
  readonly #store: NoteCache;
  readonly #key: Uint8Array;
  readonly #ttlMs: number;
  readonly #clock: Pick<Clock, "now">;

  /** `key`: a secret that the processes of a site share. */
  constructor(options: {
    readonly store: NoteCache;
    readonly key: Uint8Array;
    readonly ttlMs: number;
    readonly clock: Pick<Clock, "now">;
  }) {
    this.#store = options.store;
    this.#key = options.key;
    this.#ttlMs = options.ttlMs;
    this.#clock = options.clock;
  }

  /** The keyed hash of a credential and of everything else that the verdict depends on. */
  question(...parts: readonly string[]): string {
    return this.#seal("question", JSON.stringify(parts));
  }

  /** Undefined when nothing is known, or what is kept was not written by this cache, or is too old. */
  async recall(question: string): Promise<boolean | undefined> {
    const note = await this.#store.readNote(question);
    const [verdict, until, seal] = note?.split(".") ?? [];
    if (verdict === undefined || until === undefined || seal === undefined) return undefined;
    if (!sameText(seal, this.#seal("verdict", `${question}.${verdict}.${until}`))) return undefined;
    const leftMs = Number(until) - this.#clock.now();
    return leftMs > 0 && leftMs <= this.#ttlMs ? verdict === "right" : undefined;
  }

  async remember(question: string, isRight: boolean): Promise<void> {
    const verdict = isRight ? "right" : "wrong";
    const until = this.#clock.now() + this.#ttlMs;
    const seal = this.#seal("verdict", `${question}.${verdict}.${until}`);
    await this.#store.keepNote(question, `${verdict}.${until}.${seal}`, { ttlMs: this.#ttlMs });
  }

  #seal(purpose: string, text: string): string {
    return createHmac("sha256", this.#key).update(`${purpose}\0${text}`).digest("base64url");
  }
}

function sameText(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}
