import type { CatalogReader } from "@meridian/catalog";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import { type ResourceHandlers, whenReady } from "../handler.ts";
import { nextLink, parsePage } from "../query.ts";
import { Refusal } from "../refusal.ts";

/** `GET /v2/<name>/tags/list` (OCI distribution-spec, end-8): ASCII order, pages by `n` and `last`. */
export function tagsRoute(parts: { access: Access; answers: AnswerHeaders; catalog: CatalogReader }): ResourceHandlers {
  const { access, answers, catalog } = parts;
  return {
    GET: (exchange, { name }) =>
      whenReady(access.admit(exchange, repositoryNeed(name, "pull")), () => {
        const page = parsePage(exchange.query);
        if (!catalog.hasRepository(name)) {
          throw new Refusal("NAME_UNKNOWN", `there is no repository ${name} here`, { headers: answers.behind() });
        }
        const { items, next } = page.n === 0 ? { items: [], next: undefined } : catalog.tags(name, page);
        const headers = [
          ...answers.fixed,
          "Cache-Control",
          CacheControl.changing,
          "Meridian-Version",
          answers.version(),
          ...answers.stale(),
          ...answers.behind(),
          ...(next === undefined ? [] : nextLink(`/v2/${name}/tags/list`, page.n, next)),
        ];
        sendJson(exchange, 200, headers, { name, tags: items });
      }),
  };
}
