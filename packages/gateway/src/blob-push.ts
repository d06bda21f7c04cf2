import type { Catalog, Change } from "@meridian/catalog";
import { type Digest, isContentError } from "@meridian/oci";
import type { Principal } from "@meridian/policy";
import type { Clock, Timers } from "@meridian/runtime";
import type { AnswerHeaders } from "./answer.ts";
import type { CommitRecords } from "./commit-records.ts";
import { type CopyKeeper, holderChanges, type StoredBlob } from "./copy-keeper.ts";
import type { Exchange } from "./exchange.ts";
import type { BegunUpload } from "./mirrored-upload.ts";
import { Refusal } from "./refusal.ts";
import { waitUntil } from "./transient.ts";

/** A blob that a repository has now. */
export interface PushedBlob {
  readonly digest: Digest;
  readonly version: string;
  /** Nodes of this site that hold it; absent when nothing was stored by this request. */
  readonly copies?: number;
}

/** Makes uploaded bytes a blob of a repository. */
export interface BlobPush {
  /**
   * Commits an upload: a blob on its nodes, then link and holders in one commit. Concurrent calls for the same
   * upload and digest share one; a call after the upload is gone succeeds when the repository has the blob by then.
   * @throws Refusal BLOB_UPLOAD_UNKNOWN, ContentError `digest-mismatch`.
   */
  finish(repository: string, upload: BegunUpload, digest: Digest, principal: Principal): Promise<PushedBlob>;
  /** Links a blob that another repository has. */
  mount(repository: string, digest: Digest, size: number, principal: Principal): Promise<PushedBlob>;
}

interface BlobPushOptions {
  readonly catalog: Catalog;
  readonly keeper: CopyKeeper;
  readonly commit: CommitRecords;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** How long a repeated commit waits for the one that took the upload, through another gateway. */
const OTHER_COMMIT_WAIT_MS = 1_000;

export function createBlobPush(options: BlobPushOptions): BlobPush {
  const underWay = new Map<string, Promise<PushedBlob>>();
  return {
    finish(repository, upload, digest, principal) {
      const key = `${upload.id} ${digest}`;
      const running = underWay.get(key);
      if (running !== undefined) return running;
      const pushing = finish(repository, upload, digest, principal, options).finally(() => underWay.delete(key));
      underWay.set(key, pushing);
      return pushing;
    },
    async mount(repository, digest, size, principal) {
      options.catalog.pins.pin(repository, digest, size);
      const changes = linkChanges(repository, digest, size, principal, options.catalog);
      return { digest, version: await options.commit(changes) };
    },
  };
}

async function finish(
  repository: string,
  upload: BegunUpload,
  digest: Digest,
  principal: Principal,
  { catalog, keeper, commit, clock, timers }: BlobPushOptions,
): Promise<PushedBlob> {
  // From here on its bytes may be on a disk with nothing that names them yet.
  catalog.pins.hold(digest);
  let stored: StoredBlob;
  try {
    stored = await keeper.commit(upload, digest);
  } catch (error) {
    if (!isContentError(error, "not-found")) throw error;
    // The answer to an earlier commit of it may have been lost; only a link says that these very bytes were uploaded here.
    const isThere = (): boolean => catalog.blob(repository, digest) !== undefined;
    if (await waitUntil(isThere, { clock, timers, waitMs: OTHER_COMMIT_WAIT_MS })) {
      catalog.pins.pin(repository, digest, catalog.blob(repository, digest)?.size ?? 0);
      return { digest, version: catalog.version() };
    }
    throw unknownUpload(error);
  }
  catalog.pins.pin(repository, digest, stored.size);
  const changes = [...linkChanges(repository, digest, stored.size, principal, catalog), ...holderChanges(stored)];
  return { digest, version: await commit(changes), copies: stored.nodes.length };
}

function linkChanges(
  repository: string,
  digest: Digest,
  size: number,
  principal: Principal,
  catalog: Catalog,
): Change[] {
  const created: Change[] = catalog.hasRepository(repository)
    ? []
    : [{ kind: "repository", repository, who: principal.name ?? "anonymous" }];
  return [...created, { kind: "link", repository, digest, size }];
}

/** The session is unknown, was cancelled, or belongs to another repository. */
export function unknownUpload(cause?: unknown): Refusal {
  return new Refusal("BLOB_UPLOAD_UNKNOWN", "there is no such upload: start a new one", { cause });
}

/** 201: the blob is stored and can be pulled. */
export function answerPushed(
  exchange: Exchange,
  repository: string,
  { digest, version, copies }: PushedBlob,
  answers: AnswerHeaders,
): void {
  exchange.send(201, [
    "Location",
    `/v2/${repository}/blobs/${digest}`,
    "Docker-Content-Digest",
    digest,
    "Content-Length",
    "0",
    ...answers.fixed,
    "Meridian-Version",
    version,
    ...(copies === undefined ? [] : ["Meridian-Copies", String(copies)]),
  ]);
}
