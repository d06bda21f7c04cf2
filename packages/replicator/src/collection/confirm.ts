import { confirmUnneeded, type NeedQuestion } from "@meridian/catalog";
import type { Peers, SiteMonitor, Topology } from "@meridian/cluster";
import { ContentError } from "@meridian/oci";
import { collectionV1 } from "@meridian/wire";

/** What {@link createConfirm} needs. */
export interface ConfirmOptions {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: Pick<SiteMonitor, "health">;
}

/** Asks the members before something is removed for ever. */
export interface Confirm {
  /**
   * For each question whether every member said that nothing there needs it. `version` is what this site's view had
   * folded when it showed nothing.
   * @throws ContentError `unavailable` whose detail lines name the members that cannot be asked, and why.
   */
  everywhere(
    questions: readonly NeedQuestion[],
    options: { readonly version: string; readonly signal: AbortSignal },
  ): Promise<boolean[]>;
  /** For each question whether a client of this site was told that it is there. @throws as `everywhere`. */
  pinnedHere(
    questions: readonly NeedQuestion[],
    options: { readonly version: string; readonly signal: AbortSignal },
  ): Promise<boolean[]>;
}

/** A member folds what the asker holds first, and asks all of its gateways. */
const TIMEOUT_MS = 15_000;

type Answer = Pick<collectionV1.ConfirmResponse, "needed" | "pinned" | "version" | "instances">;
type Asked = { readonly version: string; readonly questions: readonly NeedQuestion[]; readonly signal: AbortSignal };

/** See {@link confirmUnneeded} for why it asks twice. */
export function createConfirm(options: ConfirmOptions): Confirm {
  return {
    everywhere: (questions, { version, signal }) =>
      confirmUnneeded(questions, {
        version,
        ask: (some, after) => askMembers({ version: after, questions: some, signal }, options),
      }),
    async pinnedHere(questions, { version, signal }) {
      if (questions.length === 0) return [];
      const { site } = options.topology;
      const answers = await askMembers({ version, questions, signal }, options, [site]);
      return questions.map((_, index) => answers.get(site)?.pinned[index] !== false);
    },
  };
}

/** Answers of all members, by site; of these sites only when they are given. */
async function askMembers(
  asked: Asked,
  options: ConfirmOptions,
  sites: readonly string[] = options.topology.sites,
): Promise<Map<string, Answer>> {
  const members = [...options.topology.sites];
  const outcomes = await Promise.allSettled(sites.map((site) => askMember(site, { ...asked, members }, options)));
  asked.signal.throwIfAborted();
  const silent = outcomes.flatMap((outcome, index) =>
    outcome.status === "rejected" ? [`${sites[index]}: ${reasonOf(outcome.reason)}`] : [],
  );
  if (silent.length > 0) throw new ContentError("unavailable", silent.join("\n"));
  return new Map(
    outcomes.flatMap((outcome, index) => (outcome.status === "fulfilled" ? [[sites[index]!, outcome.value]] : [])),
  );
}

/** Any gateway of the member asks the others; what each said is told when none could. */
async function askMember(
  site: string,
  { version, questions, signal, members }: Asked & { readonly members: string[] },
  { peers, monitor }: ConfirmOptions,
): Promise<Answer> {
  if (monitor.health(site).state === "down") throw new ContentError("unavailable", "the site does not answer");
  const request = {
    version,
    questions: questions.map(({ repository = "", digest }) => ({ repository, digest })),
    members,
  };
  const failures: string[] = [];
  for (const gateway of peers.processes("gateway", site)) {
    try {
      const client = peers.client(collectionV1.ConfirmService, gateway);
      const answer = await client.confirm(request, { timeoutMs: TIMEOUT_MS, signal });
      if (answer.needed.length !== questions.length) throw new ContentError("invalid", "an answer to another question");
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      failures.push(`${gateway.process}: ${reasonOf(error)}`);
    }
  }
  throw new ContentError("unavailable", failures.join("; ") || "no gateway of the site is known");
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
