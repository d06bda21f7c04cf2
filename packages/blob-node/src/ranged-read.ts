import type { ByteSink, ByteSpan } from "@meridian/storage";
import type { ServedBlob } from "@meridian/transfer";
import type { AheadBuffer } from "./ahead-buffer.ts";
import { ProgressSignal } from "./progress-signal.ts";

/**
 * Bytes asked for in one request. With four requests at once 8 MiB are on their way at most: a link of 80 MB/s and
 * 100 ms is full, and no more than that can be lost when it is cut.
 */
export const PIECE_BYTES = 2 * 1024 * 1024;

/** What {@link readInRanges} needs. */
export interface RangedReadOptions {
  readonly blob: Pick<ServedBlob, "read">;
  readonly holder: string;
  readonly span: ByteSpan;
  /** Gets the span's bytes in order. */
  readonly sink: ByteSink;
  /** Requests at once. */
  readonly lanes: number;
  /** What came ahead in an earlier attempt, and will be left for a later one. */
  readonly ahead: AheadBuffer;
  readonly signal?: AbortSignal;
}

/** Reads a span by several requests at once and writes it in order. Rejects with what failed first, once nothing runs. */
export async function readInRanges(options: RangedReadOptions): Promise<void> {
  await new RangedRead(options).run();
}

/** What the first request of a read from `start` asks for, so that a holder begins to send it with its answer. */
export function firstRange(start: number, ahead: AheadBuffer): ByteSpan {
  for (let piece = pieceOf(start); ; piece++) {
    const from = Math.max(ahead.endOf(piece) ?? piece * PIECE_BYTES, start);
    const end = (piece + 1) * PIECE_BYTES;
    if (from < end) return { start: from, end };
  }
}

class RangedRead {
  readonly #options: RangedReadOptions;
  readonly #stop = new AbortController();
  readonly #moved = new ProgressSignal();
  readonly #signal: AbortSignal;
  /** Everything before has been written. */
  #head: number;
  #unclaimed: number;
  #draining = false;
  #writing: Promise<void> | undefined;

  constructor(options: RangedReadOptions) {
    const { span, signal } = options;
    this.#options = options;
    this.#head = span.start;
    this.#unclaimed = pieceOf(span.start);
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
  }

  async run(): Promise<void> {
    const { lanes } = this.#options;
    let failure: { readonly error: unknown } | undefined;
    const fail = (error: unknown): void => {
      failure ??= { error };
      this.#stop.abort(error);
    };
    await Promise.all(
      Array.from({ length: lanes }, (_, lane) => (lane === 0 ? this.#begin() : this.#lane()).catch(fail)),
    );
    await this.#writing?.catch(fail);
    if (failure !== undefined) throw failure.error;
  }

  /** What came ahead the last time goes first. */
  async #begin(): Promise<void> {
    await this.#drain();
    await this.#lane();
  }

  async #lane(): Promise<void> {
    const { span, lanes } = this.#options;
    for (;;) {
      const piece = this.#unclaimed;
      if (piece * PIECE_BYTES >= span.end) return;
      this.#unclaimed += 1;
      while (piece >= pieceOf(this.#head) + lanes) await this.#moved.next(this.#signal);
      await this.#fetch(piece);
    }
  }

  async #fetch(piece: number): Promise<void> {
    const { blob, span, ahead } = this.#options;
    const start = Math.max(ahead.endOf(piece) ?? piece * PIECE_BYTES, span.start);
    const end = this.#endOf(piece);
    this.#signal.throwIfAborted();
    if (start >= end) return;
    let offset = start;
    const write = (chunk: Uint8Array): void | Promise<void> => {
      const at = offset;
      offset += chunk.byteLength;
      return this.#take(piece, at, chunk);
    };
    await blob.read({ start, end }, { write }, { signal: this.#signal });
  }

  #take(piece: number, offset: number, chunk: Uint8Array): void | Promise<void> {
    const { ahead, holder } = this.#options;
    if (offset === this.#head && !this.#draining) return this.#writeHead(piece, chunk);
    ahead.append(piece, offset, chunk, holder);
    return undefined;
  }

  async #writeHead(piece: number, chunk: Uint8Array): Promise<void> {
    await this.#write(chunk);
    if (this.#head < this.#endOf(piece)) return;
    this.#passed(piece);
    await this.#drain();
  }

  /** Writes what has come ahead, as far as it has come without a gap. */
  async #drain(): Promise<void> {
    const { ahead, span } = this.#options;
    this.#draining = true;
    while (this.#head < span.end) {
      const piece = pieceOf(this.#head);
      const chunk = ahead.first(piece);
      if (chunk === undefined) break;
      await this.#write(chunk, () => ahead.dropFirst(piece));
      if (this.#head >= this.#endOf(piece)) this.#passed(piece);
    }
    this.#draining = false;
  }

  async #write(chunk: Uint8Array, written?: () => void): Promise<void> {
    this.#signal.throwIfAborted();
    // Waited for even when the request that brought the chunk is over: only then is the place to go on from known.
    const writing = Promise.resolve(this.#options.sink.write(chunk)).then(() => {
      this.#head += chunk.byteLength;
      written?.();
    });
    this.#writing = writing;
    await writing;
  }

  #passed(piece: number): void {
    this.#options.ahead.drop(piece);
    this.#moved.changed();
  }

  #endOf(piece: number): number {
    return Math.min((piece + 1) * PIECE_BYTES, this.#options.span.end);
  }
}

function pieceOf(offset: number): number {
  return Math.floor(offset / PIECE_BYTES);
}
