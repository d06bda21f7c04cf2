import type { OrderedStore } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";

/** Since when something is not needed any more. */
export interface Mark {
  /** Unix epoch, milliseconds. */
  readonly since: number;
  /** The repository that needed it last; empty when none is known to have. */
  readonly repository: string;
}

const PAGE = 500;

/** The key of a link's mark. */
export const linkMark = (repository: string, digest: Digest): string => `l ${repository} ${digest}`;
/** The key of an orphan's mark. */
export const orphanMark = (repository: string, digest: Digest): string => `o ${repository} ${digest}`;
/** The key of a blob's mark. */
export const blobMark = (digest: Digest): string => `b ${digest}`;

/**
 * When this site first saw that something is not needed any more, so that it goes only after the grace. Whatever is
 * forgotten here stays longer.
 *
 *     l <repository> <digest>    a link that nothing visible needs
 *     o <repository> <digest>    a manifest whose subject was deleted
 *     b <digest>                 a blob that no link names
 *
 * Each: since when (8 bytes), then the repository.
 */
export class Marks {
  readonly #store: OrderedStore;

  constructor(store: OrderedStore) {
    this.#store = store;
  }

  /** Undefined when it is not marked. */
  get(key: string): Mark | undefined {
    const row = this.#store.get(key);
    return row && decode(row);
  }

  /** Marks what is not marked, and unmarks, in one transaction. */
  async change({
    mark = [],
    clear = [],
  }: {
    readonly mark?: Iterable<readonly [key: string, mark: Mark]>;
    readonly clear?: Iterable<string>;
  }): Promise<void> {
    const [marked, cleared] = [[...mark], [...clear]];
    if (marked.length + cleared.length === 0) return;
    await this.#store.transaction((tx) => {
      for (const key of cleared) tx.delete(key);
      for (const [key, value] of marked) if (tx.get(key) === undefined) tx.put(key, encode(value));
    });
  }

  /** All marks of a kind, a page at a time. */
  *pages(kind: "l" | "o" | "b"): Iterable<[key: string, mark: Mark][]> {
    let start = `${kind} `;
    for (;;) {
      const rows = [...this.#store.range({ start, end: `${kind}!`, limit: PAGE })];
      const last = rows.at(-1)?.[0];
      if (last === undefined) return;
      yield rows.map(([key, row]) => [key, decode(row)]);
      start = `${last}\0`;
    }
  }
}

function encode({ since, repository }: Mark): Uint8Array {
  const row = Buffer.alloc(8 + Buffer.byteLength(repository));
  row.writeDoubleBE(since, 0);
  row.write(repository, 8);
  return row;
}

function decode(row: Uint8Array): Mark {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  return { since: bytes.readDoubleBE(0), repository: bytes.toString("utf8", 8) };
}
