import type { Database, RootDatabase } from "lmdb";
import { KeyValueError } from "./key-value-error.ts";
import type { OrderedTransaction } from "./ordered-store.ts";

/** How this package lays out a file; raised when keys or databases change their meaning. */
const LAYOUT = 1;

/** What is written in the file under a name that no entry can have, because it is in a database of its own. */
interface StoredFormat {
  readonly layout: number;
  readonly format: number;
}

/**
 * Writes the format into a new file, upgrades an older one, and refuses what cannot be read.
 * @throws KeyValueError `format`
 */
export async function adoptFormat(parts: {
  path: string;
  format: number;
  upgrade: ((tx: OrderedTransaction, from: number) => void) | undefined;
  root: RootDatabase;
  meta: Database<Buffer, string>;
  entries: OrderedTransaction;
  volatile: boolean;
}): Promise<void> {
  const { path, format, upgrade, root, meta, entries, volatile } = parts;
  const stored = readFormat(path, meta.getBinary("format"));
  if (stored !== undefined) {
    const newer = stored.layout > LAYOUT || stored.format > format;
    if (newer) throw new KeyValueError("format", `${describe(path, stored)}, newer than this program's ${format}`);
    if (upgrade === undefined && (stored.layout < LAYOUT || stored.format < format)) {
      throw new KeyValueError("format", `${describe(path, stored)}, which this program (${format}) cannot upgrade`);
    }
  }
  // Nothing of a volatile store is synced: it opens also where a full disk has no page left for a write.
  if (volatile && stored?.layout === LAYOUT && stored.format === format) return;
  // Written at every opening: this commit is synced, and with it what a killed process had committed but not synced.
  root.transactionSync(() => {
    if (stored !== undefined && stored.format < format) upgrade?.(entries, stored.format);
    meta.putSync("format", Buffer.from(JSON.stringify({ layout: LAYOUT, format } satisfies StoredFormat)));
  });
}

function readFormat(path: string, bytes: Uint8Array | undefined): StoredFormat | undefined {
  if (bytes === undefined) return undefined;
  try {
    const { layout, format } = JSON.parse(Buffer.from(bytes).toString()) as Partial<StoredFormat>;
    if (typeof layout === "number" && typeof format === "number") return { layout, format };
  } catch {
    // Falls through: whatever it is, it is not ours.
  }
  throw new KeyValueError("format", `the store in ${path} has an unreadable format mark`);
}

function describe(path: string, { layout, format }: StoredFormat): string {
  return `the store in ${path} has format ${format}${layout === LAYOUT ? "" : ` (layout ${layout})`}`;
}
