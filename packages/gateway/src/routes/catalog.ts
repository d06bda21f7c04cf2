import type { CatalogReader } from "@meridian/catalog";
import type { Principal } from "@meridian/policy";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import { type ResourceHandlers, whenReady } from "../handler.ts";
import { nextLink, type PageQuery, parsePage } from "../query.ts";

/** `GET /v2/_catalog`: the repositories that the caller may pull from, in ASCII order. */
export function catalogRoute(parts: {
  access: Access;
  answers: AnswerHeaders;
  catalog: CatalogReader;
}): ResourceHandlers {
  const { access, answers } = parts;
  return {
    GET: (exchange) =>
      whenReady(access.admit(exchange, { resource: { kind: "registry" }, action: "catalog" }), (principal) => {
        const page = parsePage(exchange.query);
        const { items, next } = listPullable(exchange, principal, page, parts);
        const headers = [
          ...answers.fixed,
          "Cache-Control",
          CacheControl.changing,
          "Meridian-Version",
          answers.version(),
          ...answers.behind(),
          ...(next === undefined ? [] : nextLink("/v2/_catalog", page.n, next)),
        ];
        sendJson(exchange, 200, headers, { repositories: items });
      }),
  };
}

/** A page of what the principal may see: names that it may not pull are passed over, not counted. */
function listPullable(
  exchange: Exchange,
  principal: Principal,
  { n, last }: PageQuery,
  { access, catalog }: { access: Access; catalog: CatalogReader },
): { items: string[]; next?: string } {
  const items: string[] = [];
  let after = last;
  while (items.length < n) {
    const page = catalog.repositories({ n: n - items.length, last: after });
    for (const name of page.items) {
      if (access.decide(exchange, principal, repositoryNeed(name, "pull")).allow) items.push(name);
    }
    if (page.next === undefined) return { items };
    after = page.next;
  }
  return { items, next: after };
}
