import { isSiteName, memberProblems, memberProcessSchema, type SiteMonitor } from "@meridian/cluster";
import type { Logger } from "@meridian/runtime";
import { z } from "zod";
import { type AdministrationParts, askAuth, CHANGE_TIMEOUT_MS } from "../administer.ts";
import { CacheControl, sendJson } from "../answer.ts";
import { type DrainState, endMembership } from "../end-membership.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";
import { Refusal } from "../refusal.ts";
import type { SiteMember, SiteMembers } from "../site-members.ts";
import { askDrain, askProgress } from "../site-progress.ts";

interface SitesParts extends AdministrationParts {
  readonly members: SiteMembers;
  readonly monitor: SiteMonitor;
  readonly log: Logger;
}

const changeSchema = z.strictObject({
  state: z.enum(["active", "draining", "removed", "expelled"]),
  /** Where the processes of a new member are; absent: as the configuration of each site says. */
  processes: z.array(memberProcessSchema).max(64).optional(),
  /** Removes a site although something would be lost with it. */
  force: z.boolean().default(false),
  /** Goes on without the other one of two members. */
  acceptLoss: z.boolean().default(false),
  /** Names the change: given again, it tells what became of one whose answer was lost. */
  opId: z.string().min(1).max(128).optional(),
});

/** `GET /v2/_meridian/sites`: members, former ones, and how far those have come that join or drain. For administrators. */
export function sitesRoute(parts: SitesParts): ResourceHandlers {
  return {
    GET: async (exchange) => {
      await requireAdmin(exchange, parts);
      const { members, decider } = parts;
      const sites = await Promise.all(members.all().map((member) => describe(member, parts)));
      send(exchange, parts, { policyHome: members.policyHome ?? null, revision: decider.revision, sites });
    },
  };
}

/**
 * `PUT /v2/_meridian/sites/<site>` with `{"state":"active|draining|removed|expelled"}`: adds, drains, removes or expels a
 * site. Answered once it is effective. For administrators.
 */
export function siteRoute(parts: SitesParts): ResourceHandlers {
  return {
    GET: async (exchange, { reference: site }) => {
      await requireAdmin(exchange, parts);
      const member = parts.members.all().find((one) => one.site === site);
      if (member === undefined) throw noSuchSite(site, parts);
      send(exchange, parts, await describe(member, parts));
    },
    PUT: async (exchange, { reference: site }) => {
      const { processes = [], opId = "", ...change } = await readJson(exchange, changeSchema);
      if (!isSiteName(site)) throw new Refusal("UNSUPPORTED", `"${site}" is no name for a site`, { status: 400 });
      const problems = memberProblems(processes.map((one) => ({ ...one, site })));
      if (problems.length > 0) throw new Refusal("UNSUPPORTED", problems.join("; "), { status: 400 });
      await requireAdmin(exchange, parts);
      const { state, force, acceptLoss } = change;
      const ask = { acceptLoss, opId };
      const outcome =
        state === "removed" || state === "expelled"
          ? await endMembership(exchange, site, { ...ask, state, force }, parts)
          : await askAuth(exchange, parts, (auth, token) =>
              auth
                .putMember({ token, site, state, processes, ...ask }, { timeoutMs: CHANGE_TIMEOUT_MS })
                .then(({ revision }) => ({ revision })),
            );
      parts.log.info("the membership of a site was changed", { site, state, ...outcome });
      send(exchange, parts, { site, state, ...outcome });
    },
  };
}

async function describe({ site, membership, revision, copied }: SiteMember, parts: SitesParts) {
  const { monitor, topology } = parts;
  const { state, rttMs = null } = monitor.health(site);
  const isHere = topology.sites.includes(site);
  const [progress, drain] = await Promise.all([
    isHere ? askProgress(site, parts) : undefined,
    membership === "draining" ? askDrain(site, parts) : undefined,
  ]);
  return {
    ...{ site, membership, revision: revision ?? null, copied: copied ?? null },
    state: isHere ? state : null,
    rttMs,
    progress: progress ?? null,
    drain: drain === undefined ? null : drainOf(drain),
  };
}

function drainOf(drain: DrainState): DrainState & { readonly drained: boolean } {
  return { ...drain, drained: drain.blobs === 0 && drain.records === 0 };
}

function noSuchSite(site: string, { members }: SitesParts): Refusal {
  const known = members.all().map((one) => one.site);
  return new Refusal("UNSUPPORTED", `there is no site ${site}; there are ${known.join(", ")}`, { status: 404 });
}

async function requireAdmin(exchange: Exchange, { access, decider }: SitesParts): Promise<void> {
  const principal = await access.admitAny(exchange);
  if (access.decide(exchange, principal, { resource: { kind: "registry" }, action: "admin" }).allow) return;
  throw new Refusal("DENIED", "only an administrator may look after the cluster's sites", {
    headers: ["Meridian-Policy-Revision", decider.revision],
  });
}

function send(exchange: Exchange, { answers }: SitesParts, body: unknown): void {
  sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], body);
}
