import type { Catalog, Change } from "@meridian/catalog";
import type { Digest } from "@meridian/oci";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { CommitRecords } from "../commit-records.ts";
import type { ResourceHandlers } from "../handler.ts";
import { parsePage } from "../query.ts";
import { Refusal } from "../refusal.ts";
import type { TagHome } from "../tag-home.ts";

interface RepositoryDeleteParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly commit: CommitRecords;
  readonly tagHome: TagHome;
}

/** Registers that one request deletes at most: it is answered within seconds. */
const MAX_BATCH = 200;
/** Digests that one request looks at. */
const MAX_LOOKED_AT = 5_000;

interface Batch {
  readonly changes: readonly Change[];
  readonly tags: number;
  readonly manifests: number;
  /** Where to go on; undefined when everything is gone that was seen. */
  readonly next: string | undefined;
}

/**
 * `DELETE /v2/<name>/_meridian/repository`: deletes up to `n` tags and manifests that are seen in it, each by its own
 * key, and says where to go on (`last`). Repeated until `next` is null: then the repository's own record went too. A push
 * that was not seen meanwhile stays.
 */
export function deleteRepositoryRoute(parts: RepositoryDeleteParts): ResourceHandlers {
  return {
    DELETE: async (exchange, { name }) => {
      const { name: who = "anonymous" } = await parts.access.admit(exchange, repositoryNeed(name, "delete"));
      if (await parts.tagHome.passedOn(exchange, name)) return;
      const { catalog, tagHome, commit, answers } = parts;
      if (!catalog.hasRepository(name)) throw new Refusal("NAME_UNKNOWN", `there is no repository ${name} here`);
      const { n, last } = parsePage(exchange.query);
      const batch = nextBatch(name, { limit: Math.min(Math.max(n, 1), MAX_BATCH), last: last ?? "", who }, catalog);
      const end: Change[] = batch.next === undefined ? [{ kind: "delete-repository", repository: name }] : [];
      const version = await tagHome.decide(name, () => commit([...batch.changes, ...end]));
      const headers = [...answers.fixed, "Cache-Control", CacheControl.never, "Meridian-Version", version];
      const deleted = { tags: batch.tags, manifests: batch.manifests };
      sendJson(exchange, 200, headers, { repository: name, deleted, next: batch.next ?? null });
    },
  };
}

/** A round looks at every digest. `last` is empty at its start; else a digest, behind "+" when the round deleted something. */
function nextBatch(
  repository: string,
  { limit, last, who }: { limit: number; last: string; who: string },
  catalog: Catalog,
): Batch {
  const { items: tags } = catalog.tags(repository, { n: limit });
  if (tags.length > 0) {
    const changes = tags.map((tag): Change => ({ kind: "delete-tag", repository, tag, who }));
    return { changes, tags: tags.length, manifests: 0, next: "" };
  }
  const after = last.replace("+", "");
  const page = catalog.linked(repository, { n: MAX_LOOKED_AT, ...(after === "" ? {} : { last: after }) });
  const { digests, kept, seen } = deletable(repository, page.items, limit, catalog);
  const changes = digests.map((digest): Change => ({ kind: "delete-manifest", repository, digest, who }));
  const mark = digests.length > 0 || last.startsWith("+") ? "+" : "";
  const isEnd = seen === page.items.length && page.next === undefined;
  // What an index kept goes in the next round: only a round that deleted nothing, or was short and kept nothing, is the last.
  const isLast = mark === "" || (last === "" && kept === 0);
  const next = isEnd ? (isLast ? undefined : "") : `${mark}${page.items[seen - 1]}`;
  return { changes, tags: 0, manifests: digests.length, next };
}

function deletable(
  repository: string,
  items: readonly string[],
  limit: number,
  catalog: Catalog,
): { digests: Digest[]; kept: number; seen: number } {
  const digests: Digest[] = [];
  let kept = 0;
  let seen = 0;
  for (const digest of items as readonly Digest[]) {
    if (digests.length === limit) break;
    seen += 1;
    if (catalog.manifest(repository, digest) === undefined) continue;
    if (catalog.referencedBy(repository, digest).length > 0) kept += 1;
    else digests.push(digest);
  }
  return { digests, kept, seen };
}
