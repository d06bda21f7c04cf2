import { possibleEnds, type TagWrite } from "../harness/tag-writes.ts";
import type { Beginning, HistoryEntry, Observation, Operation } from "./history.ts";

/** A promise that was broken, in words. */
export interface Violation {
  readonly round: number;
  readonly rule: string;
  readonly words: string;
}

/**
 * Reads a history and says which promises (design.md §2) it breaks. Pure: it knows nothing but what clients were told.
 * Clocks were set wrong, so writes at different sites within twice that time count as made at once.
 */
export function checkHistory(entries: readonly HistoryEntry[]): Violation[] {
  const violations: Violation[] = [];
  const operations: Operation[] = [];
  let beginning: Beginning = { kind: "beginning", seed: 0, driver: "", sites: [], maxSkewMs: 0 };
  for (const entry of entries) {
    if (entry.kind === "beginning") beginning = entry;
    else if (entry.kind === "operation") {
      violations.push(...checkAnswer(entry));
      operations.push(entry);
    } else if (entry.kind === "observation") {
      violations.push(...checkReads(operations, entry.round), ...checkObservation(entry, operations, beginning));
    }
  }
  return violations;
}

/** What one answer tells by itself. */
function checkAnswer({
  round,
  action,
  site,
  repository,
  tag = "",
  digest = "",
  outcome,
  detail,
}: Operation): Violation[] {
  const what = `${action} ${repository} ${tag} ${digest} at ${site}: ${detail}`;
  if (outcome === "wrong") return [{ round, rule: "right bytes", words: what }];
  const isPut = action === "push" || action === "retag";
  // Its blobs were acknowledged by the same site a moment before.
  if (isPut && (outcome === "refused" || outcome === "absent"))
    return [{ round, rule: "acknowledged blobs can be named", words: what }];
  return [];
}

const isPut = ({ action }: Operation): boolean => action === "push" || action === "retag";
const isAcknowledged = ({ outcome }: Operation): boolean => outcome === "acknowledged";
/** It may have been done. */
const isPossible = ({ outcome }: Operation): boolean => outcome === "acknowledged" || outcome === "unknown";

/** Pulls of the round: what a site acknowledged it shows from then on, and nothing that nobody put. */
function checkReads(operations: readonly Operation[], round: number): Violation[] {
  return operations
    .filter((one) => one.round === round && (one.action === "pull-tag" || one.action === "pull-digest"))
    .flatMap((pull) =>
      pull.action === "pull-tag" ? checkTagRead(pull, operations) : checkDigestRead(pull, operations),
    );
}

function checkTagRead(pull: Operation, operations: readonly Operation[]): Violation[] {
  const { round, site, repository, tag, digest, startedAt, endedAt, outcome } = pull;
  const words = (why: string): Violation[] => [
    { round, rule: "reads its writes", words: `${repository}:${tag} at ${site} is ${digest ?? "absent"}: ${why}` },
  ];
  const writes = operations.filter(
    (one) => one.repository === repository && one.tag === tag && one.startedAt < endedAt,
  );
  const puts = writes.filter((one) => isPut(one) && isPossible(one));
  const own = puts.filter((one) => one.site === site && isAcknowledged(one) && one.endedAt < startedAt);
  if (outcome === "absent") {
    const isDeletable = writes.some((one) => isDelete(one) && isPossible(one));
    return own.length > 0 && !isDeletable ? words("it was pushed here and never deleted") : [];
  }
  if (outcome !== "acknowledged") return [];
  const put = puts.find((one) => one.digest === digest);
  if (put === undefined) return words("nobody put that");
  const later = own.find((one) => put.site === site && isAcknowledged(put) && one.startedAt > put.endedAt);
  return later === undefined ? [] : words(`${later.digest} was pushed here after it`);
}

function checkDigestRead(pull: Operation, operations: readonly Operation[]): Violation[] {
  const { round, site, repository, digest, startedAt, outcome } = pull;
  if (outcome !== "absent") return [];
  const about = operations.filter((one) => one.repository === repository && one.digest === digest);
  if (about.some((one) => one.action === "delete-manifest" && isPossible(one))) return [];
  const put = about.find((one) => isPut(one) && isAcknowledged(one) && one.site === site && one.endedAt < startedAt);
  if (put === undefined) return [];
  return [
    { round, rule: "never unknown", words: `${repository}@${digest} was pushed at ${site}, and is unknown there` },
  ];
}

const isDelete = ({ action }: Operation): boolean => action === "delete-tag" || action === "delete-manifest";

function checkObservation(
  observation: Observation,
  operations: readonly Operation[],
  beginning: Beginning,
): Violation[] {
  return [
    ...checkSame(observation),
    ...checkTags(observation, operations, beginning),
    ...checkImages(observation, operations),
    ...checkHistories(observation, operations),
    ...checkReceipts(observation),
  ];
}

/** All views are equal: by what their tags are, and by `diff`. */
function checkSame({ round, tags, comparisons }: Observation): Violation[] {
  const found: Violation[] = comparisons
    .filter(({ words }) => words.length > 0)
    .map(({ sites, words }) => ({ round, rule: "all views are equal", words: `${sites}: ${words.join("; ")}` }));
  const first = new Map<string, { site: string; text: string }>();
  for (const one of tags) {
    const text = JSON.stringify(Object.entries(one.tags).sort());
    const known = first.get(one.repository);
    if (known === undefined) first.set(one.repository, { site: one.site, text });
    else if (known.text !== text)
      found.push({
        round,
        rule: "all views are equal",
        words: `${one.repository}: ${known.site} ${known.text}, ${one.site} ${text}`,
      });
  }
  return found;
}

/** A tag names what the rules allow: a later put wins, what a delete had seen stays away. */
function checkTags(
  { round, tags }: Observation,
  operations: readonly Operation[],
  { maxSkewMs }: Beginning,
): Violation[] {
  const found: Violation[] = [];
  const byTag = Map.groupBy(
    operations.filter(({ action, tag }) => tag !== undefined && action !== "pull-tag" && action !== "pull-digest"),
    ({ repository, tag }) => `${repository}:${tag}`,
  );
  for (const [name, writes] of byTag) {
    const possible = possibleEnds(writes.filter(isPossible).map((one) => tagWrite(one, maxSkewMs)));
    for (const one of tags) {
      if (!name.startsWith(`${one.repository}:`)) continue;
      const shown = one.tags[name.slice(one.repository.length + 1)];
      if (possible.has(shown)) continue;
      const rule =
        shown === undefined
          ? "nothing lost"
          : possible.has(undefined)
            ? "nothing back from the dead"
            : "the later put wins";
      const allowed = [...possible].map((digest) => digest ?? "absent").join(" or ");
      found.push({ round, rule, words: `${name} at ${one.site} is ${shown ?? "absent"}, and may be ${allowed}` });
    }
  }
  for (const { site, repository, tags: shown } of tags)
    for (const [tag, digest] of Object.entries(shown))
      if (!byTag.has(`${repository}:${tag}`))
        found.push({ round, rule: "nothing that nobody put", words: `${repository}:${tag} at ${site} is ${digest}` });
  return found;
}

/** With a wrong clock a write seems to have lasted longer. */
function tagWrite(one: Operation, maxSkewMs: number): TagWrite {
  const { tag = "", site, seen, startedAt, endedAt } = one;
  const outcome = isAcknowledged(one) ? "acknowledged" : "unknown";
  return {
    ...{ tag, site, startedAt, endedAt: endedAt + 2 * maxSkewMs, outcome },
    ...(isPut(one) ? { digest: one.digest ?? "" } : { seen }),
  };
}

/** What was acknowledged can be pulled whole at every site; what was deleted by digest is gone. */
function checkImages({ round, images }: Observation, operations: readonly Operation[]): Violation[] {
  const about = Map.groupBy(operations, ({ repository, digest }) => `${repository}@${digest}`);
  return images.flatMap(({ site, repository, digest, status, detail }): Violation[] => {
    const name = `${repository}@${digest}`;
    const all = about.get(name) ?? [];
    const deletes = all.filter(({ action }) => action === "delete-manifest").filter(isPossible);
    const words = `${name} at ${site}: ${status} ${detail}`;
    if (deletes.some(isAcknowledged))
      return status === 404 ? [] : [{ round, rule: "nothing back from the dead", words }];
    const isOwed = deletes.length === 0 && all.some((one) => isPut(one) && isAcknowledged(one));
    return isOwed && status !== 200 ? [{ round, rule: "nothing lost", words }] : [];
  });
}

/** Of a put that is not what the tag names, the history tells. */
function checkHistories({ round, tags, histories }: Observation, operations: readonly Operation[]): Violation[] {
  return histories.flatMap(({ repository, tag, digests }) =>
    operations
      .filter((one) => one.repository === repository && one.tag === tag && isPut(one) && isAcknowledged(one))
      .filter(({ digest = "" }) => !digests.includes(digest))
      .filter(({ digest }) => !tags.some((one) => one.repository === repository && one.tags[tag] === digest))
      .map(({ digest }) => ({
        round,
        rule: "no silent loser",
        words: `${repository}:${tag}: its history does not tell of ${digest}`,
      })),
  );
}

/** Complete means that the site's own nodes serve it. */
function checkReceipts({ round, receipts }: Observation): Violation[] {
  return receipts
    .filter(({ site, state, servedBy }) => state !== "complete" || !servedBy.startsWith(`${site}/`))
    .map(({ repository, tag, site, state, servedBy }) => ({
      ...{ round, rule: "receipts are true" },
      words: `${repository}:${tag} is ${state} at ${site}, and was served by ${servedBy}`,
    }));
}
