import { type Catalog, joinVersions, manifestValueOf, needOf, noManifestValue } from "@meridian/catalog";
import { type Peers, type ProcessAddress, requireAllAsked, type Topology } from "@meridian/cluster";
import { ContentError, isOciError, parseDigest, parseManifest } from "@meridian/oci";
import type { ServiceImpl } from "@meridian/rpc";
import type { Logger, Random, Timers } from "@meridian/runtime";
import { collectionV1 } from "@meridian/wire";
import type { ManifestBytes } from "./manifest-bytes.ts";

/** What {@link createConfirmService} needs. */
export interface ConfirmServiceOptions {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly catalog: Catalog;
  readonly manifests: Pick<ManifestBytes, "load">;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
}

type Asked = Pick<collectionV1.ConfirmRequest, "version" | "questions">;
type Answer = Pick<collectionV1.ConfirmResponse, "needed" | "pinned" | "version" | "instances">;

const NOTHING: Asked = { version: "", questions: [] };
/** More questions at once are refused. */
const MAX_QUESTIONS = 5_000;
/** How long an answer waits for the view to show what the asker has folded, in milliseconds. */
const FOLD_WAIT_MS = 8_000;
const SIBLING_TIMEOUT_MS = 12_000;
/** Questions answered between two turns of the event loop: pulls do not wait for more. */
const SLICE = 100;
/** Manifests read for one answer whose references nobody knows yet. */
const MAX_READ = 200;

/**
 * What this member tells a site that is about to remove something for ever (consistency.md §6): first it folds what the
 * asker holds, then it answers from its own view, pins and writes under way included. A pin is made in the turn in which
 * a client's digest is seen, and lasts, so whatever a client was told before the answer is in it; what comes after an
 * answer "not needed" has to be uploaded again.
 */
export function createConfirmService(options: ConfirmServiceOptions): ServiceImpl<typeof collectionV1.ConfirmService> {
  const { catalog, random } = options;
  const instance = Buffer.from(random.bytes(12)).toString("hex");
  const here = (asked: Asked, signal: AbortSignal): Promise<Answer> =>
    answerHere(asked, { ...options, instance }, signal);
  return {
    confirmHere: async ({ asked }, { signal }) => ({ answer: await here(asked ?? NOTHING, signal) }),
    async confirm(asked, { signal }) {
      requireAllAsked(asked.members, options.topology);
      const answers = await Promise.all([
        here(asked, signal),
        ...siblings(options).map((address) => askSibling(address, asked, options, signal)),
      ]);
      return {
        needed: asked.questions.map((_, index) => answers.some(({ needed }) => needed[index] !== false)),
        pinned: asked.questions.map((_, index) => answers.some(({ pinned }) => pinned[index] !== false)),
        version: joinVersions(answers.map(({ version }) => version)),
        instances: answers.flatMap(({ instances }) => instances).sort(),
      };
    },
    async release({ repository, digest }) {
      catalog.pins.unpin(repository, parseDigest(digest));
      return {};
    },
  };
}

/** The other gateways of this site: every one that the configuration names, for one that is away comes back with its pins. */
function siblings({ topology }: Pick<ConfirmServiceOptions, "topology">): ProcessAddress[] {
  return topology.processes.filter(
    ({ site, process, roles }) => site === topology.site && process !== topology.process && roles.includes("gateway"),
  );
}

async function askSibling(
  address: ProcessAddress,
  asked: Asked,
  { peers }: ConfirmServiceOptions,
  signal: AbortSignal,
): Promise<Answer> {
  try {
    const client = peers.client(collectionV1.ConfirmService, address);
    const { answer } = await client.confirmHere({ asked }, { timeoutMs: SIBLING_TIMEOUT_MS, signal });
    if (answer === undefined) throw new ContentError("unavailable", "it gave no answer");
    return answer;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ContentError("unavailable", `gateway ${address.process} cannot be asked: ${reason}`, { cause });
  }
}

async function answerHere(
  { version, questions }: Asked,
  options: ConfirmServiceOptions & { readonly instance: string },
  signal: AbortSignal,
): Promise<Answer> {
  const { catalog, timers, instance } = options;
  if (questions.length > MAX_QUESTIONS) throw new ContentError("invalid", `more than ${MAX_QUESTIONS} questions`);
  const asked = questions.map(({ repository, digest }) => ({
    digest: parseDigest(digest),
    repository: repository === "" ? undefined : repository,
  }));
  if (!catalog.ready) throw new ContentError("unavailable", "this gateway's view has not caught up yet");
  const late = new AbortController();
  using _deadline = timers.after(FOLD_WAIT_MS, () => late.abort());
  if (version !== "") await catalog.reached(version, AbortSignal.any([late.signal, signal]));
  await readUnread(options);
  const needed: boolean[] = [];
  const pinned: boolean[] = [];
  for (const [index, question] of asked.entries()) {
    if (index % SLICE === SLICE - 1) await timers.sleep(0, { signal });
    const need = needOf(question, { reader: catalog, pins: catalog.pins });
    needed.push(need.needed);
    pinned.push(need.pinned);
  }
  // Whoever has folded so much has seen all that this site wrote before it answered.
  const within = AbortSignal.any([late.signal, signal]);
  await catalog.ownLogShown(within);
  // The answer is a promise, also after a power loss.
  await catalog.stored(within);
  return { needed, pinned, version: catalog.version(), instances: [instance] };
}

/** What a manifest needs cannot be told before its references are known. @throws ContentError `unavailable` when they cannot be read. */
async function readUnread({ catalog, manifests, log }: ConfirmServiceOptions): Promise<void> {
  for (const { repository, digest } of catalog.collectable.unread({ n: MAX_READ })) {
    const view = catalog.manifest(repository, digest);
    if (view === undefined) continue;
    try {
      const { bytes } = (await manifests.load(repository, view)).manifest;
      await catalog.learnManifest(repository, digest, referencesIn(bytes, view.mediaType));
    } catch (error) {
      log.debug("a manifest could not be read for an answer about what is needed", { error });
      const message = `what manifest ${digest} of ${repository} references is not known here, and its bytes cannot be read`;
      throw new ContentError("unavailable", message, { cause: error });
    }
  }
  if (catalog.collectable.unread({ n: 1 }).length > 0)
    throw new ContentError("unavailable", "manifests are still being read for what they reference");
}

/** What an index may list as a manifest and is none references nothing. */
function referencesIn(bytes: Uint8Array, mediaType: string): ReturnType<typeof manifestValueOf> {
  try {
    return manifestValueOf(parseManifest(bytes, mediaType || undefined), bytes.byteLength);
  } catch (error) {
    if (!isOciError(error)) throw error;
    return noManifestValue(mediaType, bytes.byteLength);
  }
}
