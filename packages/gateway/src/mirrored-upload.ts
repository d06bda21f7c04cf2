import { ContentError, type Digest, isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { SharedBody } from "./shared-body.ts";
import type { UploadNodes } from "./upload-nodes.ts";

/** An upload that has begun, under one id, at the nodes that each take all of its bytes. */
export interface BegunUpload {
  readonly id: string;
  /** Process names in this site; at least one. */
  readonly nodes: readonly string[];
}

/** What {@link MirroredUploads} needs. */
export interface MirroredUploadsOptions {
  readonly nodes: UploadNodes;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** What nodes did: those that succeeded, and why others did not. */
interface Outcome<T> {
  readonly done: ReadonlyMap<string, T>;
  readonly errors: ReadonlyMap<string, unknown>;
}

const STATUS_TIMEOUT_MS = 3_000;
/** A node that keeps its twin waiting for so long is gone on without, milliseconds: an answer starts within 20 s of the last byte. */
const STALL_MS = 6_000;
/** Longest time for a node to make its bytes a blob, milliseconds. */
const COMMIT_TIMEOUT_MS = 18_000;

/**
 * Uploads whose bytes go to several nodes while they arrive, so that the commit has none to move. A node that fails is
 * gone on without: what it has is less than the others have, and at the commit the hash tells.
 */
export class MirroredUploads {
  readonly #options: MirroredUploadsOptions;

  constructor(options: MirroredUploadsOptions) {
    this.#options = options;
  }

  /**
   * The acknowledged offset: the farthest of those that can be asked.
   * @throws ContentError `not-found` when no node knows the upload, `unavailable` when one that may could not be asked.
   */
  async offset({ id, nodes }: BegunUpload): Promise<number> {
    return Math.max(...(await this.#offsets({ id, nodes })).values());
  }

  /**
   * Appends a body at every node at once; see NodeBytes.append. `offset` absent: where the farthest node stands, and the
   * others are left out.
   * @throws ContentError when no node took it.
   */
  async append(
    upload: BegunUpload,
    body: AsyncIterable<Uint8Array>,
    { offset, final }: { readonly offset: number | undefined; readonly final: boolean },
  ): Promise<number> {
    const { id, nodes } = upload;
    const [only, ...more] = nodes;
    if (more.length === 0 && only !== undefined) {
      return (await this.#options.nodes.bytes(only).append(id, body, { offset, final, owned: true })).offset;
    }
    const at = offset === undefined ? await this.#offsets(upload) : undefined;
    const start = offset ?? Math.max(...(at?.values() ?? []));
    const taking = at === undefined ? nodes : nodes.filter((node) => at.get(node) === start);
    return await this.#appendAt({ id, nodes: taking }, body, { offset: start, final });
  }

  /**
   * Makes it a blob wherever it is whole, and resolves with its size and those nodes. Elsewhere it is dropped.
   * @throws ContentError `digest-mismatch` when it is nowhere what it should be, `not-found` when nobody knows it.
   */
  async commit({ id, nodes }: BegunUpload, digest: Digest): Promise<{ size: number; nodes: readonly string[] }> {
    const { log } = this.#options;
    const { done, errors } = await this.#onEach(nodes, async (node, signal) => {
      const options = { timeoutMs: COMMIT_TIMEOUT_MS, signal };
      const { size } = await this.#options.nodes.control(node).commitUpload({ uploadId: id, digest }, options);
      return Number(size);
    });
    const [size] = done.values();
    if (size === undefined) throw worst(errors);
    for (const [node, error] of errors) {
      log.warn("a blob node has no whole copy of an upload", { node, digest, error });
      void this.#drop(id, node);
    }
    return { size, nodes: [...done.keys()] };
  }

  /** Removes it everywhere. @throws ContentError `unavailable` when no node could be told. */
  async cancel({ id, nodes }: BegunUpload): Promise<void> {
    const { done, errors } = await this.#onEach(nodes, (node, signal) =>
      this.#options.nodes.control(node).cancelUpload({ uploadId: id }, { timeoutMs: STATUS_TIMEOUT_MS, signal }),
    );
    if (done.size === 0) throw worst(errors);
  }

  async #offsets({ id, nodes }: BegunUpload): Promise<ReadonlyMap<string, number>> {
    const { done, errors } = await this.#onEach(nodes, async (node, signal) => {
      const options = { timeoutMs: STATUS_TIMEOUT_MS, signal };
      return Number((await this.#options.nodes.control(node).uploadStatus({ uploadId: id }, options)).offset);
    });
    if (done.size === 0) throw worst(errors);
    return done;
  }

  async #appendAt(
    { id, nodes }: BegunUpload,
    source: AsyncIterable<Uint8Array>,
    options: { readonly offset: number; readonly final: boolean },
  ): Promise<number> {
    const { clock, timers, log } = this.#options;
    const stops = nodes.map(() => new AbortController());
    using body = new SharedBody({
      ...{ source, clock, timers, readers: nodes.length, stallMs: STALL_MS },
      onLeftBehind: (reader) => stops[reader]?.abort(tooSlow(nodes[reader])),
    });
    const { done, errors } = await this.#onEach(nodes, async (node, signal) => {
      const reader = nodes.indexOf(node);
      try {
        const stop = AbortSignal.any([stops[reader]!.signal, signal]);
        return (await this.#options.nodes.bytes(node).append(id, body.reader(reader), { ...options, signal: stop }))
          .offset;
      } finally {
        body.leave(reader);
      }
    });
    const broken = [...errors.values()].find((error) => body.failed || isContentError(error, "fenced"));
    if (broken !== undefined) throw broken;
    if (done.size === 0) throw worst(errors);
    for (const [node, error] of errors) log.warn("a blob node lost its copy of an upload", { node, error });
    return Math.max(...done.values());
  }

  /** Runs a call at every node at once. Once one has succeeded, the others have {@link STALL_MS} more. */
  async #onEach<T>(
    nodes: readonly string[],
    call: (node: string, signal: AbortSignal) => Promise<T>,
  ): Promise<Outcome<T>> {
    const done = new Map<string, T>();
    const errors = new Map<string, unknown>();
    const late = new AbortController();
    let limit: Disposable | undefined;
    const overdue = new Promise<void>((resolve) => late.signal.addEventListener("abort", () => resolve()));
    const run = async (node: string): Promise<void> => {
      try {
        const value = await call(node, late.signal);
        if (!late.signal.aborted) done.set(node, value);
        limit ??= this.#options.timers.after(STALL_MS, () => late.abort(tooSlow(node)));
      } catch (error) {
        errors.set(node, error);
      }
    };
    await Promise.race([Promise.all(nodes.map(run)), overdue]);
    limit?.[Symbol.dispose]();
    for (const node of nodes) if (!done.has(node) && !errors.has(node)) errors.set(node, tooSlow(node));
    return { done, errors };
  }

  async #drop(id: string, node: string): Promise<void> {
    const options = { timeoutMs: STATUS_TIMEOUT_MS };
    await this.#options.nodes
      .control(node)
      .cancelUpload({ uploadId: id }, options)
      .catch(() => undefined);
  }
}

function tooSlow(node: string | undefined): ContentError {
  return new ContentError("unavailable", `${node} keeps the other copies waiting`);
}

/** What to tell of several failures: that a retry may help, before that it is wrong, before that it is unknown. */
function worst(errors: ReadonlyMap<string, unknown>): unknown {
  const all = [...errors.values()];
  const of = (kind: ContentError["kind"]): unknown => all.find((error) => isContentError(error, kind));
  const foreign = all.find((error) => !isContentError(error));
  return (
    foreign ??
    of("fenced") ??
    of("no-space") ??
    of("unavailable") ??
    of("digest-mismatch") ??
    of("invalid-range") ??
    all[0]
  );
}
