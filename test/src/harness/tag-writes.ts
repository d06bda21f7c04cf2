/** One write of a tag as its client saw it. Times are of one clock, in milliseconds. */
export interface TagWrite {
  readonly tag: string;
  readonly site: string;
  /** What a put made the tag name; absent for a delete. A digest is put at a tag at most once. */
  readonly digest?: string;
  /** What the site showed right before a delete. */
  readonly seen?: string | undefined;
  readonly startedAt: number;
  endedAt: number;
  /** `unknown`: the connection broke, or the answer left it open. */
  outcome: "acknowledged" | "unknown";
}

/**
 * What a tag may name once all sites have met again, by these rules: of two puts the later wins; a delete takes away
 * what its site had seen, and nothing else. `undefined` in the result stands for "no such tag".
 * Writes that overlapped in time may have happened in either order; a write of unknown outcome may have happened or not.
 */
export function possibleEnds(writes: readonly TagWrite[]): Set<string | undefined> {
  const puts = writes.filter((write) => write.digest !== undefined);
  const deletes = writes.filter((write) => write.digest === undefined);
  const ends = new Set<string | undefined>(
    puts.filter((put) => !isSuperseded(put, puts) && !isDeleted(put, deletes)).map((put) => put.digest),
  );
  // A delete that came before a put cannot have seen it, nor a put that outdid it.
  const held = puts.some(
    (put) => put.outcome === "acknowledged" && !deletes.some((one) => one.endedAt > put.startedAt),
  );
  if (!held) ends.add(undefined);
  return ends;
}

function isSuperseded(put: TagWrite, puts: readonly TagWrite[]): boolean {
  return puts.some((later) => later.outcome === "acknowledged" && later.startedAt > put.endedAt);
}

/** By a delete that was answered and had surely seen it. */
function isDeleted(put: TagWrite, deletes: readonly TagWrite[]): boolean {
  return deletes.some(
    (one) =>
      one.outcome === "acknowledged" &&
      (one.seen === put.digest ||
        (one.site === put.site && put.outcome === "acknowledged" && one.startedAt > put.endedAt)),
  );
}
