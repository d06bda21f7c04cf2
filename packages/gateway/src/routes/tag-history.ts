import type { Catalog, TagWrite } from "@meridian/catalog";
import { parseTag } from "@meridian/oci";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { ResourceHandlers } from "../handler.ts";
import { linkTo, parsePage } from "../query.ts";

interface HistoryParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Pick<Catalog, "tagHistory">;
}

/** A page is never longer. */
const MAX_PAGE = 100;

/**
 * `GET /v2/<name>/_meridian/tags/<tag>/history`: the writes of a tag at all sites, the newest first, in pages by `n` and
 * `last` (the `id` of the last one seen). For those who may pull.
 */
export function tagHistoryRoute({ access, answers, catalog }: HistoryParts): ResourceHandlers {
  return {
    GET: async (exchange, { name, reference }) => {
      await access.admit(exchange, repositoryNeed(name, "pull"));
      const tag = parseTag(reference);
      const { n, last } = parsePage(exchange.query);
      const history = await catalog.tagHistory(name, tag);
      const start = last === undefined ? 0 : 1 + history.findIndex(({ id }) => id === last);
      const page = history.slice(start, start + Math.min(Math.max(n, 1), MAX_PAGE));
      const end = page.at(-1);
      const isLast = end === undefined || start + page.length >= history.length;
      const headers = [
        ...answers.fixed,
        "Cache-Control",
        CacheControl.changing,
        ...answers.behind(),
        ...(isLast ? [] : linkTo(`/v2/${name}/_meridian/tags/${tag}/history`, { n: String(n), last: end.id })),
      ];
      sendJson(exchange, 200, headers, { repository: name, tag, history: page.map(described) });
    },
  };
}

function described({ id, atMs, who, site, action, digest, from, lostTo }: TagWrite) {
  return {
    id,
    at: new Date(atMs).toISOString(),
    who,
    site,
    action,
    digest: digest ?? null,
    from: from ?? null,
    lostTo: lostTo ?? null,
  };
}
