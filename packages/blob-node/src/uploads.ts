import { ContentError, type Digest, type DigestAlgorithm, digestAlgorithm, isContentError } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import type { BlobInfo, BlobStore } from "@meridian/storage";
import type { AppendOptions } from "@meridian/transfer";
import { FETCH_PREFIX } from "./fetch-partial.ts";
import type { BlobNodeEvents } from "./telemetry.ts";
import { UploadSession } from "./upload-session.ts";

/** What {@link Uploads} needs. */
export interface UploadsOptions {
  readonly store: BlobStore;
  readonly timers: Timers;
  readonly events: BlobNodeEvents;
  /** Called when a commit has stored a blob. */
  readonly onStored: (digest: Digest, size: number) => void;
}

const UPLOAD_ID = /^[A-Za-z0-9_-]{1,128}$/;
// An upload that nobody writes to gives its file back after one to two of these; it is opened again when needed.
const CLOSE_IDLE_EVERY_MS = 5 * 60_000;
const MAX_REMEMBERED = 10_000;
/** What one call may bring, in bytes: twice the largest manifest. */
const MAX_PUT_BYTES = 8 * 1024 * 1024;

interface OpenSession {
  readonly session: Promise<UploadSession>;
  idle: boolean;
}

/** Clients' uploads on this node. They outlive the process up to the acknowledged offset. */
export class Uploads implements AsyncDisposable {
  readonly #options: UploadsOptions;
  readonly #open = new Map<string, OpenSession>();
  readonly #commits = new Map<string, Promise<BlobInfo>>();
  /** Upload id to the digest it became, the newest: a commit whose answer was lost may be asked for again. */
  readonly #committed = new Map<string, Digest>();
  readonly #sweep: Disposable;

  constructor(options: UploadsOptions) {
    this.#options = options;
    this.#sweep = options.timers.every(CLOSE_IDLE_EVERY_MS, () => void this.#closeIdle());
  }

  /** @throws ContentError `conflict` when there is one of the id. */
  async begin(id: string, algorithm: DigestAlgorithm): Promise<void> {
    requireUploadId(id);
    const upload = await this.#options.store.begin(id, { algorithm });
    const session = Promise.resolve(new UploadSession(this.#options.store, upload, algorithm));
    this.#open.set(id, { session, idle: false });
  }

  /** The acknowledged offset. @throws ContentError `not-found`. */
  async offset(id: string): Promise<number> {
    return (await this.#session(id)).acknowledged;
  }

  /** See NodeBytes.append. */
  async append(id: string, body: AsyncIterable<Uint8Array>, options: AppendOptions): Promise<{ offset: number }> {
    const session = await this.#session(id);
    return session.append(body, options);
  }

  /** Makes it a blob; saying so again is success. @throws ContentError `digest-mismatch`, `not-found`. */
  async commit(id: string, digest: Digest): Promise<BlobInfo> {
    const key = `${id} ${digest}`;
    const running = this.#commits.get(key);
    if (running !== undefined) return running;
    const commit = this.#commit(id, digest);
    this.#commits.set(key, commit);
    try {
      return await commit;
    } finally {
      this.#commits.delete(key);
    }
  }

  /** Stores what is in memory as a whole. @throws ContentError `digest-mismatch`, `no-space`, `invalid` when it is too large for that. */
  async put(digest: Digest, content: Uint8Array): Promise<void> {
    const { store, events, onStored } = this.#options;
    if (content.byteLength > MAX_PUT_BYTES) throw new ContentError("invalid", "too large to be stored in one step");
    try {
      await store.put(digest, content);
      events.uploadCommitted(digest, content.byteLength);
      onStored(digest, content.byteLength);
    } catch (error) {
      events.uploadRefused(digest, error);
      throw error;
    }
  }

  /** Removes it, whoever writes. Idempotent. */
  async cancel(id: string): Promise<void> {
    try {
      const session = await this.#session(id);
      await session.cancel();
      this.#open.delete(id);
    } catch (error) {
      if (!isContentError(error, "not-found")) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sweep[Symbol.dispose]();
    const sessions = [...this.#open.values()];
    this.#open.clear();
    await Promise.allSettled(sessions.map(async ({ session }) => (await session).close()));
  }

  async #commit(id: string, digest: Digest): Promise<BlobInfo> {
    const { store, events, onStored } = this.#options;
    try {
      const session = await this.#session(id, digestAlgorithm(digest));
      const info = await session.commit(digest);
      this.#open.delete(id);
      this.#remember(id, digest);
      events.uploadCommitted(digest, info.size);
      onStored(digest, info.size);
      return info;
    } catch (error) {
      // Committed before, its answer lost. That the digest is stored proves nothing: others may have brought it.
      const repeated = isContentError(error, "not-found") && this.#committed.get(id) === digest;
      const info = repeated ? await store.stat(digest) : undefined;
      if (info !== undefined) return info;
      events.uploadRefused(digest, error);
      throw error;
    }
  }

  #remember(id: string, digest: Digest): void {
    this.#committed.set(id, digest);
    const [oldest] = this.#committed.keys();
    if (this.#committed.size > MAX_REMEMBERED && oldest !== undefined) this.#committed.delete(oldest);
  }

  async #session(id: string, algorithm: DigestAlgorithm = "sha256"): Promise<UploadSession> {
    requireUploadId(id);
    const known = this.#open.get(id);
    if (known !== undefined) {
      known.idle = false;
      return known.session;
    }
    const session = this.#resume(id, algorithm);
    this.#open.set(id, { session, idle: false });
    try {
      return await session;
    } catch (error) {
      this.#open.delete(id);
      throw error;
    }
  }

  async #resume(id: string, algorithm: DigestAlgorithm): Promise<UploadSession> {
    const upload = await this.#options.store.resume(id, { algorithm });
    if (upload === undefined) throw new ContentError("not-found", `no upload ${id}`);
    return new UploadSession(this.#options.store, upload, algorithm);
  }

  async #closeIdle(): Promise<void> {
    for (const [id, open] of this.#open) {
      const session = await open.session.catch(() => undefined);
      if (session === undefined || session.busy) continue;
      if (!open.idle) {
        open.idle = true;
        continue;
      }
      this.#open.delete(id);
      await session.close().catch(() => {});
    }
  }
}

function requireUploadId(id: string): void {
  if (UPLOAD_ID.test(id) && !id.startsWith(FETCH_PREFIX)) return;
  throw new ContentError("invalid", "not an upload id");
}
