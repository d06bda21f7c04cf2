import { ContentError, type Digest } from "@meridian/oci";
import type { CatalogPins, CatalogReader } from "./catalog.ts";
import { joinVersions } from "./version-token.ts";

/** Something that the asker's view shows nothing of any more. */
export interface NeedQuestion {
  /** Absent: in whichever repository. */
  readonly repository?: string | undefined;
  readonly digest: Digest;
}

/** What a gateway's view, pins and writes under way say. */
export interface Need {
  /** True while it is shown as linked, or a client was told so. */
  readonly needed: boolean;
  /** True while a client was told so. */
  readonly pinned: boolean;
}

/** A member's answer to questions. */
export interface NeedAnswer {
  /** One for each question, in their order. */
  readonly needed: readonly boolean[];
  /** What its gateways had folded when they had answered. */
  readonly version: string;
  /** The runs of its gateways. */
  readonly instances: readonly string[];
}

/**
 * What this process knows of a question, right now. A pin is made in the turn in which a client's digest is seen, and
 * before bytes of it are stored, so pins tell of writes under way too.
 */
export function needOf(
  { repository, digest }: NeedQuestion,
  {
    reader,
    pins,
  }: {
    readonly reader: Pick<CatalogReader, "repositoriesOf" | "blob">;
    readonly pins: Pick<CatalogPins, "isPinned">;
  },
): Need {
  const pinned = pins.isPinned(digest);
  // What is visible as a manifest is linked.
  const shown =
    repository === undefined
      ? reader.repositoriesOf(digest, 1).length > 0
      : reader.blob(repository, digest) !== undefined;
  return { needed: pinned || shown, pinned };
}

/** Asks every member, which folds what the version tells before it answers. @throws ContentError `unavailable` when one cannot be asked. */
export type AskMembers = (
  questions: readonly NeedQuestion[],
  version: string,
) => Promise<ReadonlyMap<string, NeedAnswer>>;

/**
 * For each question whether nothing anywhere needs it, so that it may go for ever. `version` is what the asker's view
 * had folded when it showed nothing.
 *
 * Two rounds. In the first every member says that it needs nothing of it, and how far its own log went then. In the
 * second every member has folded all those logs as far, and still needs nothing. So there was a moment, between the
 * rounds, at which no put anywhere named the digest and no client had been told of it; nothing that was written before
 * can turn up later; and whatever names it from then on was uploaded after that moment, bytes included. One round is
 * not enough: a member that has answered may fold a link that another one still shows then, tell a client of it, and
 * keep that promise with bytes that are gone.
 * @throws ContentError `unavailable` when a member cannot be asked, or a gateway was started between the rounds.
 */
export async function confirmUnneeded(
  questions: readonly NeedQuestion[],
  { version, ask }: { readonly version: string; readonly ask: AskMembers },
): Promise<boolean[]> {
  if (questions.length === 0) return [];
  const first = await ask(questions, version);
  const open = questions.filter((_, index) => isFree(index, first));
  if (open.length === 0) return questions.map(() => false);
  const joined = joinVersions([version, ...[...first.values()].map((answer) => answer.version)]);
  const second = await ask(open, joined);
  requireSameRuns(first, second);
  const free = new Set(open.filter((_, index) => isFree(index, second)));
  return questions.map((question) => free.has(question));
}

function isFree(index: number, answers: ReadonlyMap<string, NeedAnswer>): boolean {
  return [...answers.values()].every(({ needed }) => needed[index] === false);
}

/** Pins outlive a process, but not the machine: one that was started between the rounds may have forgotten some. */
function requireSameRuns(first: ReadonlyMap<string, NeedAnswer>, second: ReadonlyMap<string, NeedAnswer>): void {
  for (const [site, { instances }] of second) {
    if (first.get(site)?.instances.join() !== instances.join())
      throw new ContentError("unavailable", `${site}: a gateway was started meanwhile`);
  }
}
