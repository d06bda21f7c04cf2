import { lstat, open, stat } from "node:fs/promises";
import { ContentError, type Digest, Digester, digestAlgorithm, isContentError } from "@meridian/oci";
import type { Clock, Logger } from "@meridian/runtime";
import type { BlobChecks, CheckOptions, CheckOutcome, Damage, QuarantinedCopy } from "./blob-checks.ts";
import type { OpenBlob } from "./blob-store.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { CheckedFileBlob, type CopyVerifier } from "./checked-file-blob.ts";
import type { DigestTurns } from "./digest-turns.ts";
import { type FileBlob, openFileBlob } from "./file-blob.ts";
import { errorCode } from "./file-error.ts";
import type { FilesystemLayout } from "./filesystem-layout.ts";
import type { FilesystemQuarantine } from "./filesystem-quarantine.ts";
import { fileState, VerifiedCopies } from "./verified-copies.ts";

/** What {@link FilesystemChecks} works with. */
export interface FilesystemChecksParts {
  readonly layout: FilesystemLayout;
  readonly pool: BufferPool;
  readonly quarantine: FilesystemQuarantine;
  readonly turns: DigestTurns;
  /** Every name that a blob may have, whatever it belongs to. */
  readonly names: () => AsyncIterable<Digest>;
  /** Told when a copy has been moved aside. */
  readonly moved: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

const WRONG_BYTES = "its bytes do not hash to its digest";
/** Failures that are the copy's own fault, not the disk's or this process's. */
const BROKEN: ReadonlyMap<string, string> = new Map([
  ["EACCES", "this process may not read it"],
  ["EPERM", "this process may not read it"],
  ["ELOOP", "it is a symbolic link that leads nowhere"],
  ["EIO", "the disk cannot read it"],
  ["ENXIO", "it is no file"],
  ["EISDIR", "it is no file"],
]);

const NAMES_AT_ONCE = 256;

/** Checks the files of a store and moves bad ones aside. */
export class FilesystemChecks implements BlobChecks, CopyVerifier {
  readonly #parts: FilesystemChecksParts;
  readonly #verified = new VerifiedCopies();
  readonly #underWay = new Map<string, Promise<boolean>>();
  readonly #later = new Set<Digest>();
  readonly #listeners = new Set<(damage: Damage) => void>();

  constructor(parts: FilesystemChecksParts) {
    this.#parts = parts;
  }

  /** Undefined when the blob is absent; what is no readable file is moved aside, and absent then. */
  async open(digest: Digest): Promise<OpenBlob | undefined> {
    const found = await this.#openFile(digest);
    if (typeof found === "string") return undefined;
    // Of an empty file nobody reads anything, so that nobody would find out.
    if (found.size > 0 || (await this.#hash(digest, found, {}))) return new CheckedFileBlob(digest, found, this);
    await found[Symbol.asyncDispose]();
    return undefined;
  }

  /** A file that was hashed while it was written has got its name. */
  published(digest: Digest, state: string): void {
    this.#verified.add(digest, state);
  }

  /** The blob is gone. */
  forget(digest: Digest): void {
    this.#verified.delete(digest);
  }

  async check(digest: Digest, options: CheckOptions = {}): Promise<CheckOutcome> {
    const found = await this.#openFile(digest);
    if (typeof found === "string") return found;
    await using file = found;
    return (await this.#hash(digest, file, options)) ? "right" : "damaged";
  }

  async confirm(digest: Digest): Promise<CheckOutcome> {
    const found = await this.#openFile(digest);
    if (typeof found === "string") return found;
    await using file = found;
    if (this.isVerified(digest, file)) return "right";
    // Shared with readers who are the first to read it, and with others who ask meanwhile.
    const right = await this.verify(digest, file).then(
      () => true,
      () => false,
    );
    return right ? "right" : this.check(digest);
  }

  async *inspect({ pace, signal }: { pace?: () => Promise<void>; signal?: AbortSignal } = {}): AsyncGenerator<Damage> {
    let seen = 0;
    for await (const digest of this.#parts.names()) {
      signal?.throwIfAborted();
      if (++seen % NAMES_AT_ONCE === 0) await pace?.();
      try {
        const problem = await problemAt(this.#parts.layout.blob(digest));
        if (problem !== undefined && (await this.#moveAside(digest, problem))) yield { digest, problem };
      } catch (error) {
        this.#parts.log.error("a copy is damaged and cannot be moved aside", { digest, error });
      }
    }
  }

  quarantined(): AsyncIterable<QuarantinedCopy> {
    return this.#parts.quarantine.list();
  }

  watch(listener: (damage: Damage) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  isVerified(digest: Digest, file: FileBlob): boolean {
    return this.#verified.has(digest, file.state);
  }

  async verify(digest: Digest, file: FileBlob): Promise<void> {
    const key = `${digest} ${file.state}`;
    const running = this.#underWay.get(key);
    const hashing = running ?? this.#hashAt(digest, file.state).finally(() => this.#underWay.delete(key));
    if (running === undefined) this.#underWay.set(key, hashing);
    if (!(await hashing)) throw new ContentError("unavailable", `the copy of ${digest} is damaged or was replaced`);
  }

  verifyLater(digest: Digest): void {
    if (this.#later.has(digest)) return;
    this.#later.add(digest);
    this.check(digest)
      .catch((error: unknown) => this.#parts.log.warn("a copy could not be checked", { digest, error }))
      .finally(() => this.#later.delete(digest));
  }

  /** Through a file of its own: a reader may close its own at any time. */
  async #hashAt(digest: Digest, state: string): Promise<boolean> {
    const found = await this.#openFile(digest);
    if (typeof found === "string") return false;
    await using file = found;
    return file.state === state && (await this.#hash(digest, file, {}));
  }

  async #openFile(digest: Digest): Promise<FileBlob | "absent" | "damaged"> {
    try {
      return (await openFileBlob(this.#parts.layout.blob(digest), this.#parts.pool)) ?? "absent";
    } catch (error) {
      const problem = problemOf(error);
      if (problem === undefined) throw error;
      await this.#moveAside(digest, problem);
      return "damaged";
    }
  }

  /** Whether the bytes are right; wrong ones are moved aside. */
  async #hash(digest: Digest, file: FileBlob, { pace, signal }: CheckOptions): Promise<boolean> {
    const digester = new Digester(digestAlgorithm(digest));
    const sink = {
      write(chunk: Uint8Array): Promise<void> | void {
        digester.update(chunk);
        return pace?.(chunk.byteLength);
      },
    };
    let problem: string | undefined;
    try {
      await file.read({ start: 0, end: file.size }, sink, { signal });
      if (digester.current() !== digest) problem = WRONG_BYTES;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isContentError(error, "unavailable")) throw error;
      problem = error.cause === undefined ? "it ends early" : problemOf(error.cause);
      if (problem === undefined) throw error;
    }
    if (problem === undefined) {
      if (await file.isUnwritten()) this.#verified.add(digest, file.state);
      return true;
    }
    await this.#moveAside(digest, problem, file.state);
    return false;
  }

  /** `state`: only while the name still belongs to that very content: a commit may have replaced it by the right one. */
  async #moveAside(digest: Digest, problem: string, state?: string): Promise<boolean> {
    const { turns, layout, quarantine, clock } = this.#parts;
    const isMoved = await turns.run(digest, async () => {
      const found = await stat(layout.blob(digest)).catch(() => undefined);
      if (state !== undefined && (found === undefined || inode(fileState(found)) !== inode(state))) return false;
      if (state === undefined && (await problemAt(layout.blob(digest))) === undefined) return false;
      this.#verified.delete(digest);
      return quarantine.take(digest, clock.now());
    });
    if (!isMoved) return false;
    this.#parts.moved();
    for (const listener of this.#listeners) listener({ digest, problem });
    return true;
  }
}

function inode(state: string): string {
  return state.slice(0, state.indexOf(" "));
}

/** What is wrong with the copy, when that is what the error says. */
function problemOf(error: unknown): string | undefined {
  if (isContentError(error, "digest-mismatch")) return BROKEN.get("EISDIR");
  return BROKEN.get(errorCode(error) ?? "");
}

/** What keeps the path from being read as a file; undefined when nothing does, or nothing is there. */
async function problemAt(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path);
    if (!found.isFile()) return BROKEN.get("EISDIR");
    // What may be read is asked by opening: access(2) would answer for the real user, not the effective one.
    await (await open(path, "r")).close();
    return undefined;
  } catch (error) {
    if (errorCode(error) !== "ENOENT") return problemOf(error);
    const isLink = await lstat(path).then(
      (found) => found.isSymbolicLink(),
      () => false,
    );
    return isLink ? BROKEN.get("ELOOP") : undefined;
  }
}
