import type { Catalog } from "@meridian/catalog";
import type { Topology } from "@meridian/cluster";
import { isContentError } from "@meridian/oci";
import type { Decider } from "@meridian/policy";
import { z } from "zod";
import type { Access } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";
import { parseQuery } from "../query.ts";
import { Refusal } from "../refusal.ts";
import type { SiteProxy } from "../site-proxy.ts";

interface RestoreParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly decider: Pick<Decider, "revision">;
  readonly proxy: SiteProxy;
  readonly topology: Topology;
}

const controlSchema = z.strictObject({ acceptLoss: z.literal(true) });

/**
 * `/v2/_meridian/log-restore?site=us`: GET tells how far the site's log, which lost what it had, has been restored from
 * the other sites; POST with `{"acceptLoss":true}`, for administrators, gives up what sites hold that cannot be asked.
 * Without `site`: this one.
 */
export function logRestoreRoute(parts: RestoreParts): ResourceHandlers {
  const { catalog } = parts;
  return {
    // A site that has lost its policy as well answers this, too.
    GET: async (exchange) => handle(exchange, parts, async () => void (await parts.access.admitAny(exchange))),
    POST: (exchange) =>
      handle(exchange, parts, async () => {
        await requireAdmin(exchange, parts);
        await readJson(exchange, controlSchema);
        await catalog.life.acceptLoss().catch((error: unknown) => {
          if (!isContentError(error, "precondition")) throw error;
          throw new Refusal("UNSUPPORTED", error.message, { status: 409, cause: error });
        });
      }),
  };
}

async function requireAdmin(exchange: Exchange, { access, decider }: RestoreParts): Promise<void> {
  const principal = await access.admitAny(exchange);
  if (access.decide(exchange, principal, { resource: { kind: "registry" }, action: "admin" }).allow) return;
  throw new Refusal("DENIED", "only an administrator may give up what a site has lost", {
    headers: ["Meridian-Policy-Revision", decider.revision],
  });
}

async function handle(exchange: Exchange, parts: RestoreParts, act: () => Promise<void>): Promise<void> {
  const { answers, catalog, proxy, topology } = parts;
  const site = parseQuery(exchange.query).get("site") ?? topology.site;
  if (!topology.sites.includes(site))
    throw new Refusal("UNSUPPORTED", `there is no site of that name: ${topology.sites.join(", ")}`, { status: 404 });
  if (site !== topology.site) return await proxy.pass(exchange, site);
  await act();
  const { restoring } = catalog.life;
  const headers = [...answers.fixed, "Cache-Control", CacheControl.never];
  sendJson(exchange, 200, headers, { site, state: restoring === undefined ? "whole" : "restoring", ...restoring });
}
