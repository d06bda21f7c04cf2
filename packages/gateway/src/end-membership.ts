import type { SiteMonitor } from "@meridian/cluster";
import type { Logger } from "@meridian/runtime";
import type { policyV1 } from "@meridian/wire";
import { type AdministrationParts, askAuth, CHANGE_TIMEOUT_MS } from "./administer.ts";
import type { Exchange } from "./exchange.ts";
import { Refusal, unavailable } from "./refusal.ts";
import type { SiteMembers } from "./site-members.ts";
import { askCopied, askDrain } from "./site-progress.ts";

/** What would be lost with a site now. */
export interface DrainState {
  /** Blobs of which no site that stays has a copy, and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
  /** Records of its log that no site that stays has copied. */
  readonly records: number;
  /** Where its log ends, and up to where such a site has fsynced it. */
  readonly head: number;
  readonly copied: number;
  /** Some of the blobs. */
  readonly digests: readonly string[];
}

/** How a membership is to end. */
export interface Ending {
  readonly state: "removed" | "expelled";
  readonly force: boolean;
  readonly acceptLoss: boolean;
  readonly opId: string;
}

interface EndParts extends AdministrationParts {
  readonly members: SiteMembers;
  readonly monitor: SiteMonitor;
  readonly log: Logger;
}

/** Longer than a process of the site takes to follow the policy log, and than a write that it had begun. */
const QUIET_MS = 3_000;
const POLL_MS = 500;
const CLOSE_TIMEOUT_MS = 30_000;

/**
 * Removes a drained site, or expels one. A site is removed in two steps: first its gateways take no writes any more, and
 * only when nothing that they had answered is left there alone does its membership end.
 * @throws Refusal 409 when something would be lost and neither the site is expelled nor that is forced; as {@link askAuth}.
 */
export async function endMembership(
  exchange: Exchange,
  site: string,
  { state, force, acceptLoss, opId }: Ending,
  parts: EndParts,
): Promise<{ readonly revision: string; readonly lost?: DrainState }> {
  const { members } = parts;
  const current = members.all().find((one) => one.site === site);
  requireNoHome(site, members);
  if (current?.membership === state) return { revision: current.revision ?? parts.decider.revision };
  const lost = state === "removed" ? await lossOf(site, force, parts) : undefined;
  if (state === "removed" && lost === undefined && current?.membership === "draining")
    await close(exchange, site, parts);
  const copied = await copiedLog(site, parts);
  const revision = await put(exchange, site, { state, acceptLoss, opId, ...(copied && { copied }) }, parts);
  return { revision, ...(lost && { lost }) };
}

function requireNoHome(site: string, { policyHome }: SiteMembers): void {
  if (site !== policyHome) return;
  throw new Refusal(
    "UNSUPPORTED",
    `${site} is the home of the policy log: it stays a member as long as it is, and nothing was changed`,
    { status: 409 },
  );
}

/** What is lost by force; undefined when nothing is. @throws Refusal 409 when something is, and that is not forced. */
async function lossOf(site: string, force: boolean, parts: EndParts): Promise<DrainState | undefined> {
  const { members, topology } = parts;
  if (!topology.sites.includes(site)) return undefined;
  const drain = await askDrain(site, parts);
  const draining = members.isDraining(site);
  // Its last records are waited for when it is closed.
  if (draining && drain?.blobs === 0) return undefined;
  const unknown = { blobs: -1, bytes: -1, records: -1, head: -1, copied: -1, digests: [] };
  if (force) return drain ?? unknown;
  const what =
    drain === undefined
      ? `${site} does not answer, so nobody can say what only it has: \`meridian site expel ${site}\` is for a site that is lost`
      : `${drain.blobs} blobs (${drain.bytes} bytes) and ${drain.records} records are only at ${site}${
          draining ? "" : `: \`meridian site drain ${site}\` first`
        }`;
  throw new Refusal("UNSUPPORTED", `${what}; nothing was changed`, { status: 409, detail: drain ?? null });
}

/**
 * Resolves once the site takes no writes, and the others have copied all that it had answered: its log may grow, by what its
 * replicator notes. Opens the site again when that fails.
 */
async function close(exchange: Exchange, site: string, parts: EndParts): Promise<void> {
  const { clock, timers } = parts;
  await put(exchange, site, { state: "draining", closed: true }, parts);
  const deadline = clock.monotonic() + CLOSE_TIMEOUT_MS;
  await timers.sleep(QUIET_MS, { signal: exchange.signal });
  let end: number | undefined;
  for (;;) {
    const drain = await askDrain(site, parts);
    end ??= drain?.head;
    if (drain?.blobs === 0 && end !== undefined && drain.copied >= end) return;
    if (clock.monotonic() > deadline) {
      await put(exchange, site, { state: "draining" }, parts);
      const seconds = CLOSE_TIMEOUT_MS / 1_000;
      throw unavailable(`${site} could not be emptied within ${seconds} s: it goes on draining, nothing was changed`);
    }
    await timers.sleep(POLL_MS, { signal: exchange.signal });
  }
}

/** How far the others have copied the site's log: the furthest of them. */
async function copiedLog(site: string, parts: EndParts): Promise<policyV1.CopiedLog | undefined> {
  const others = parts.topology.sites.filter((one) => one !== site);
  const found = await Promise.all(others.map((one) => askCopied(one, site, parts)));
  return found
    .filter((one) => one !== undefined)
    .reduce<policyV1.CopiedLog | undefined>(
      (best, one) => (best === undefined || isBehind(best, one) ? one : best),
      undefined,
    );
}

function isBehind(a: policyV1.CopiedLog, b: policyV1.CopiedLog): boolean {
  return a.created === b.created ? a.sequence < b.sequence : a.created < b.created;
}

interface Put {
  readonly state: string;
  readonly closed?: boolean;
  readonly acceptLoss?: boolean;
  readonly opId?: string;
  readonly copied?: policyV1.CopiedLog;
}

async function put(exchange: Exchange, site: string, change: Put, parts: EndParts): Promise<string> {
  const { revision } = await askAuth(exchange, parts, (auth, token) =>
    auth.putMember({ token, site, ...change }, { timeoutMs: CHANGE_TIMEOUT_MS }).then(({ revision }) => ({ revision })),
  );
  return revision;
}
