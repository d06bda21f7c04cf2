import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

/** What a client asked of a site, and what came of it. Times are of the runner's clock, in milliseconds. */
export interface Operation {
  readonly kind: "operation";
  readonly round: number;
  readonly action: "push" | "retag" | "delete-tag" | "delete-manifest" | "pull-tag" | "pull-digest";
  readonly site: string;
  readonly repository: string;
  /** Absent where only a digest is asked for. */
  readonly tag?: string;
  /** What was put, deleted or asked for by digest; of a pull by tag what came. A digest is put at a tag at most once. */
  readonly digest?: string;
  /** Of a delete: what the site showed right before. */
  readonly seen?: string;
  readonly startedAt: number;
  readonly endedAt: number;
  /**
   * `refused`: answered with 4xx, nothing was done; `absent`: 404; `wrong`: bytes that do not hash to their name;
   * `unknown`: everything else, so it may have been done or not.
   */
  readonly outcome: "acknowledged" | "refused" | "absent" | "wrong" | "unknown";
  /** Status and words of the answer, or the error. */
  readonly detail: string;
}

/** Something that was broken on purpose, or put right. */
export interface Fault {
  readonly kind: "fault";
  readonly round: number;
  readonly at: number;
  readonly what: string;
}

/** What all sites showed after a round, once everything was put right and had settled, or the time for that was over. */
export interface Observation {
  readonly kind: "observation";
  readonly round: number;
  readonly tags: ReadonlyArray<{
    readonly site: string;
    readonly repository: string;
    readonly tags: Readonly<Record<string, string>>;
  }>;
  /** Pulls of whole images by digest: 200 only when all bytes came and were right. */
  readonly images: ReadonlyArray<{
    readonly site: string;
    readonly repository: string;
    readonly digest: string;
    readonly status: number;
    readonly detail: string;
  }>;
  /** What a receipt said of a site, and who served the image's bytes there. */
  readonly receipts: ReadonlyArray<{
    readonly repository: string;
    readonly tag: string;
    readonly site: string;
    readonly state: string;
    readonly servedBy: string;
  }>;
  /** Every digest that the history of a tag names. */
  readonly histories: ReadonlyArray<{
    readonly repository: string;
    readonly tag: string;
    readonly digests: readonly string[];
  }>;
  readonly comparisons: ReadonlyArray<{ readonly sites: string; readonly words: readonly string[] }>;
}

/** Where the history begins. */
export interface Beginning {
  readonly kind: "beginning";
  readonly seed: number;
  readonly driver: string;
  readonly sites: readonly string[];
  /** By how much clocks were set wrong at most, in milliseconds. */
  readonly maxSkewMs: number;
}

export type HistoryEntry = Beginning | Operation | Fault | Observation;

/** A history in a file, an entry a line. */
export class HistoryFile {
  readonly path: string;
  readonly entries: HistoryEntry[] = [];

  /** Begins anew. */
  constructor(path: string) {
    this.path = path;
    writeFileSync(path, "");
  }

  add(entry: HistoryEntry): void {
    this.entries.push(entry);
    appendFileSync(this.path, `${JSON.stringify(entry)}\n`);
  }
}

/** Reads what {@link HistoryFile} wrote. */
export function readHistory(path: string): HistoryEntry[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as HistoryEntry);
}
