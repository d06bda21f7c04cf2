/** A part of a blob that came before what precedes it. */
interface Piece {
  readonly chunks: Uint8Array[];
  /** Offset in the blob after the last byte that has come. */
  end: number;
}

/**
 * Pieces of a blob that came before what precedes them, by number. They outlive the connection, and the holder, that
 * brought them: what has come once is not asked for again.
 */
export class AheadBuffer {
  readonly #pieces = new Map<number, Piece>();
  readonly #holders = new Set<string>();

  /** Whose bytes are here, or were. */
  get holders(): ReadonlySet<string> {
    return this.#holders;
  }

  /** Up to where a piece has come, as an offset in the blob; undefined when nothing of it has. */
  endOf(piece: number): number | undefined {
    return this.#pieces.get(piece)?.end;
  }

  /** Takes a copy of a chunk that starts at `offset`, where the piece has ended so far. */
  append(piece: number, offset: number, chunk: Uint8Array, holder: string): void {
    const known = this.#pieces.get(piece) ?? { chunks: [], end: offset };
    known.chunks.push(Uint8Array.from(chunk));
    known.end = offset + chunk.byteLength;
    this.#pieces.set(piece, known);
    this.#holders.add(holder);
  }

  /** The first chunk of a piece that has not been dropped; undefined when there is none. */
  first(piece: number): Uint8Array | undefined {
    return this.#pieces.get(piece)?.chunks[0];
  }

  /** Drops the first chunk: it has been written. */
  dropFirst(piece: number): void {
    this.#pieces.get(piece)?.chunks.shift();
  }

  /** Forgets a piece that has been written as a whole. */
  drop(piece: number): void {
    this.#pieces.delete(piece);
  }

  /** Drops everything. */
  clear(): void {
    this.#pieces.clear();
    this.#holders.clear();
  }
}
