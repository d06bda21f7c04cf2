import type { Change } from "@meridian/catalog";
import { type Digest, parseDigest, parseTag } from "@meridian/oci";
import { z } from "zod";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { CommitRecords } from "../commit-records.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";
import { parsePage } from "../query.ts";
import { Refusal } from "../refusal.ts";
import { type RestoreParts, restoreChanges } from "../restore-content.ts";
import type { TagHome } from "../tag-home.ts";

interface RestoreRouteParts extends RestoreParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly commit: CommitRecords;
  readonly tagHome: TagHome;
}

const MAX_DELETED = 1_000;

const wantedSchema = z
  .strictObject({
    /** The digest that the tag is to name. */
    to: z.string().optional(),
    /** What the tag named just before this time (RFC 3339). */
    before: z.iso.datetime({ offset: true }).optional(),
  })
  .refine(({ to, before }) => to === undefined || before === undefined, "either to or before, not both");

interface Target {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
}

/**
 * `POST /v2/<name>/_meridian/tags/<tag>/restore` with `{"to":"<digest>"}`, `{"before":"<time>"}` or `{}`, which undoes
 * the last write: an earlier value is put again as a write of now. Manifests that were deleted come back with it.
 */
export function restoreTagRoute(parts: RestoreRouteParts): ResourceHandlers {
  return {
    POST: async (exchange, { name, reference }) => {
      const { name: who = "anonymous" } = await parts.access.admit(exchange, repositoryNeed(name, "push"));
      const tag = parseTag(reference);
      if (await parts.tagHome.passedOn(exchange, name)) return;
      const wanted = await readJson(exchange, wantedSchema);
      const current = parts.catalog.tag(name, tag)?.digest;
      const target = await findTarget(name, tag, wanted, parts);
      const { digest, mediaType, size } = target;
      const restored: Change = { kind: "tag", repository: name, tag, digest, mediaType, size, who, restored: true };
      const changes = await restoreChanges(name, target, parts);
      const created = repositoryChange(name, who, parts);
      const isThere = digest === current && changes.length === 0;
      const version = isThere
        ? parts.answers.version()
        : await parts.tagHome.decide(name, () => parts.commit([...created, ...changes, restored]));
      answer(exchange, parts, version, { repository: name, tag, digest, from: current ?? null, changed: !isThere });
    },
  };
}

/** `POST /v2/<name>/_meridian/manifests/<digest>/restore`: a deleted manifest is pushed again, as it was. */
export function restoreManifestRoute(parts: RestoreRouteParts): ResourceHandlers {
  return {
    POST: async (exchange, { name, reference }) => {
      const { name: who = "anonymous" } = await parts.access.admit(exchange, repositoryNeed(name, "push"));
      const digest = parseDigest(reference);
      const known = parts.catalog.deletedManifest(name, digest);
      const isVisible = parts.catalog.manifest(name, digest) !== undefined;
      if (known === undefined && !isVisible)
        throw new Refusal("MANIFEST_UNKNOWN", `repository ${name} does not know of a deleted manifest ${digest}`, {
          detail: { digest },
        });
      const changes = await restoreChanges(name, { digest, size: Number(known?.size ?? 0) }, parts);
      const isThere = changes.length === 0;
      const all = [...repositoryChange(name, who, parts), ...changes];
      const version = isThere ? parts.answers.version() : await parts.commit(all);
      answer(exchange, parts, version, { repository: name, digest, changed: !isThere });
    },
  };
}

/**
 * `GET /v2/<name>/_meridian/deleted`: tags that are deleted with what they named, in pages by `n` and `last`, and, once
 * all of those were told, deleted manifests that no tag in the list names.
 */
export function deletedRoute({ access, answers, catalog }: RestoreRouteParts): ResourceHandlers {
  return {
    GET: async (exchange, { name }) => {
      await access.admit(exchange, repositoryNeed(name, "pull"));
      const { n, last } = parsePage(exchange.query);
      const page = { n: Math.min(Math.max(n, 1), MAX_DELETED), ...(last === undefined ? {} : { last }) };
      const isDigests = last?.includes(":") ?? false;
      const headers = [...answers.fixed, "Cache-Control", CacheControl.never, ...answers.behind()];
      if (isDigests) {
        const { items, next } = catalog.deletedManifests(name, page);
        sendJson(exchange, 200, headers, { repository: name, tags: [], manifests: items, next: next ?? null });
        return;
      }
      const { items, next } = catalog.deletedTags(name, page);
      // A colon is in no tag and sorts behind no digest: manifests begin there.
      sendJson(exchange, 200, headers, { repository: name, tags: items, manifests: [], next: next ?? ":" });
    },
  };
}

async function findTarget(
  name: string,
  tag: string,
  { to, before }: z.infer<typeof wantedSchema>,
  { catalog }: RestoreParts,
): Promise<Target> {
  const history = await catalog.tagHistory(name, tag);
  const puts = history.flatMap(({ digest, mediaType, size, atMs }) =>
    digest === undefined ? [] : [{ digest, mediaType, size, atMs }],
  );
  if (to !== undefined) {
    const digest = parseDigest(to);
    const target = puts.find((put) => put.digest === digest) ?? catalog.manifest(name, digest);
    return target ?? unknown(`tag ${tag} never named ${digest}, nor does repository ${name} show it`);
  }
  if (before !== undefined) {
    const then = history.find(({ atMs }) => atMs < Date.parse(before));
    if (then === undefined) return unknown(`the history of tag ${tag} does not reach back before ${before}`);
    const { digest, mediaType, size } = then;
    return digest === undefined ? unknown(`tag ${tag} was deleted before ${before}`) : { digest, mediaType, size };
  }
  const current = catalog.tag(name, tag)?.digest;
  return puts.find(({ digest }) => digest !== current) ?? unknown(`nothing is known that tag ${tag} named before`);
}

function unknown(message: string): never {
  throw new Refusal("MANIFEST_UNKNOWN", message);
}

function repositoryChange(repository: string, who: string, { catalog }: RestoreParts): Change[] {
  return catalog.hasRepository(repository) ? [] : [{ kind: "repository", repository, who }];
}

function answer(exchange: Exchange, { answers }: RestoreRouteParts, version: string, body: unknown): void {
  const headers = [...answers.fixed, "Cache-Control", CacheControl.never, "Meridian-Version", version];
  sendJson(exchange, 200, headers, body);
}
