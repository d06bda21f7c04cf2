import type { OwnPuts } from "@meridian/catalog";
import type { Decider } from "@meridian/policy";
import type { Access } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { ResourceHandlers } from "../handler.ts";
import { parseQuery } from "../query.ts";
import { Refusal } from "../refusal.ts";

interface SalvageParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly decider: Pick<Decider, "revision">;
  readonly topology: { readonly site: string };
  /** Absent where nothing can be salvaged. */
  readonly ownPuts?: (
    place: { readonly incarnation: string; readonly sequence: number },
    limit: number,
  ) => Promise<OwnPuts>;
}

const PAGE = 500;

/**
 * `GET /v2/_meridian/salvage?incarnation=<id>&after=<sequence>`: what was put at this site behind a place in its log, page
 * by page. Also answered by a site that was expelled. For administrators.
 */
export function salvageRoute({ access, answers, decider, topology, ownPuts }: SalvageParts): ResourceHandlers {
  return {
    GET: async (exchange) => {
      const principal = await access.admitAny(exchange);
      if (!access.decide(exchange, principal, { resource: { kind: "registry" }, action: "admin" }).allow)
        throw new Refusal("DENIED", "only an administrator may salvage what is at a site", {
          headers: ["Meridian-Policy-Revision", decider.revision],
        });
      const query = parseQuery(exchange.query);
      const sequence = Number(query.get("after") ?? "0");
      if (!Number.isSafeInteger(sequence) || sequence < 0)
        throw new Refusal("UNSUPPORTED", "after is a place in the log: 0 or more", { status: 400 });
      if (ownPuts === undefined) throw new Refusal("UNSUPPORTED", "nothing can be salvaged here", { status: 404 });
      const found = await ownPuts({ incarnation: query.get("incarnation") ?? "", sequence }, PAGE);
      sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], {
        site: topology.site,
        ...found,
      });
    },
  };
}
