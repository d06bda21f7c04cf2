import type { Change } from "@meridian/catalog";
import { nodeName, type ProcessAddress, parseNodeName, Role } from "@meridian/cluster";
import { ContentError, type Digest, tryParseDigest } from "@meridian/oci";
import { nodeV1 } from "@meridian/wire";
import { blobMark, type Mark } from "./marks.ts";
import { COMMIT_BATCH, chunks, confirmed, ripeness, type SweepParts, type SweepRun } from "./sweep.ts";

/** A copy on a node of this site that no link names. */
interface UnnamedBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly repository: string;
  readonly question: { readonly digest: Digest };
}

const PAGE = 1_000;
/** Blobs that the members are asked about at once. */
const ASK_BATCH = 2_000;
/** Digests looked at between two turns of the event loop. */
const SLICE = 200;
const NODE_TIMEOUT_MS = 30_000;

/**
 * Removes copies on this site's nodes that no link has named for the grace: after every member confirmed, drained first,
 * then removed unless they were stored anew meanwhile. What is on the disks decides, not what records say.
 */
export async function sweepBlobs(parts: SweepParts, run: SweepRun): Promise<void> {
  const { peers, topology } = parts;
  for (const address of peers.processes(Role.blobNode, topology.site)) {
    run.pass.phase = `blobs on ${nodeName(address)}`;
    await sweepNode(address, parts, run);
  }
  if (!run.pass.dryRun) await forgetOld(parts, run);
}

async function sweepNode(address: ProcessAddress, parts: SweepParts, run: SweepRun): Promise<void> {
  const { marks } = parts;
  const node = nodeOf(address, parts, run);
  let ripe: UnnamedBlob[] = [];
  for (let after = "", done = false; !done; ) {
    const blobs = await node.list(after);
    after = blobs.at(-1)?.digest ?? "";
    done = blobs.length < PAGE;
    const { unnamed, named } = await split(blobs, parts, run);
    const mark: [string, Mark][] = [];
    for (const { digest, size } of unnamed) {
      const known = marks.get(blobMark(digest));
      const { since, ripe: isRipe } = ripeness(known, parts);
      const repository = known?.repository ?? "";
      mark.push([blobMark(digest), { since, repository }]);
      if (isRipe) ripe.push({ digest, size, repository, question: { digest } });
      else run.pass.wait("blobs", size);
    }
    if (!run.pass.dryRun) await marks.change({ mark, clear: named });
    if (ripe.length >= ASK_BATCH || done) {
      for (const batch of chunks(ripe, ASK_BATCH)) await removeAll(batch, node, parts, run);
      ripe = [];
    }
  }
}

/** What no link names; and the marks of what some link names again. */
async function split(
  blobs: readonly { readonly digest: Digest; readonly size: number }[],
  { catalog, marks, timers }: SweepParts,
  { pass, signal }: SweepRun,
): Promise<{ unnamed: { digest: Digest; size: number }[]; named: string[] }> {
  const unnamed: { digest: Digest; size: number }[] = [];
  const named: string[] = [];
  for (const [index, blob] of blobs.entries()) {
    if (index % SLICE === SLICE - 1) await timers.sleep(0, { signal });
    pass.blobsSeen += 1;
    if (catalog.repositoriesOf(blob.digest, 1).length === 0) unnamed.push(blob);
    else if (marks.get(blobMark(blob.digest)) !== undefined) named.push(blobMark(blob.digest));
  }
  return { unnamed, named };
}

interface SweptNode {
  readonly name: string;
  list(after: string): Promise<{ digest: Digest; size: number }[]>;
  drain(digests: readonly Digest[]): Promise<void>;
  keep(digests: readonly Digest[]): Promise<void>;
  remove(digests: readonly Digest[]): Promise<nodeV1.Removal[]>;
}

/** Calls of one node; one that does not answer is waited for, as a member is. */
function nodeOf(address: ProcessAddress, { peers }: SweepParts, { signal, untilAsked }: SweepRun): SweptNode {
  const name = nodeName(address);
  const options = { timeoutMs: NODE_TIMEOUT_MS, signal };
  const asking = <T>(call: () => Promise<T>): Promise<T> =>
    untilAsked(() =>
      call().catch((cause: unknown) => {
        signal.throwIfAborted();
        throw new ContentError("unavailable", `${name}: ${cause instanceof Error ? cause.message : cause}`, { cause });
      }),
    );
  const client = () => peers.client(nodeV1.NodeService, address);
  return {
    name,
    async list(after) {
      const { blobs } = await asking(() => client().list({ after, limit: PAGE }, options));
      return blobs.flatMap(({ digest, size }) => {
        const parsed = tryParseDigest(digest);
        return parsed === undefined ? [] : [{ digest: parsed, size: Number(size) }];
      });
    },
    drain: async (digests) => void (await asking(() => client().drainBlobs({ digests: [...digests] }, options))),
    keep: async (digests) => void (await asking(() => client().keepBlobs({ digests: [...digests] }, options))),
    remove: async (digests) =>
      (await asking(() => client().removeDrained({ digests: [...digests] }, options))).removals,
  };
}

async function removeAll(
  blobs: readonly UnnamedBlob[],
  node: SweptNode,
  parts: SweepParts,
  run: SweepRun,
): Promise<void> {
  if (run.pass.dryRun) {
    for (const blob of blobs) run.pass.take("blobs", blob);
    return;
  }
  const isUnnamed = ({ digest }: UnnamedBlob): boolean => parts.catalog.repositoriesOf(digest, 1).length === 0;
  const doomed = await confirmed(blobs, isUnnamed, parts, run);
  for (const chunk of chunks(doomed, COMMIT_BATCH)) {
    run.signal.throwIfAborted();
    await removeChunk(chunk, node, parts, run);
    await run.pace(chunk.length);
  }
}

/** Drained, then unrecorded, then removed: whoever finds the record finds the bytes. */
async function removeChunk(
  blobs: readonly UnnamedBlob[],
  node: SweptNode,
  parts: SweepParts,
  { pass, signal }: SweepRun,
): Promise<void> {
  const { catalog, marks, telemetry } = parts;
  await node.drain(blobs.map(({ digest }) => digest));
  const record = (some: readonly UnnamedBlob[], state: "present" | "absent"): Promise<string> =>
    catalog.commit(
      some.map(({ digest, size }): Change => ({ kind: "blob-at-node", digest, node: node.name, size, state })),
      { signal },
    );
  await record(blobs, "absent").catch(async (error: unknown) => {
    await node.keep(blobs.map(({ digest }) => digest));
    throw error;
  });
  const named = blobs.filter(({ digest }) => catalog.repositoriesOf(digest, 1).length > 0);
  if (named.length > 0) await node.keep(named.map(({ digest }) => digest));
  const going = blobs.filter((blob) => !named.includes(blob));
  const removals = await node.remove(going.map(({ digest }) => digest));
  const kept = going.filter((_, index) => removals[index] === nodeV1.Removal.KEPT);
  // Stored anew since the drain: the record of that may have come before the one that is written here.
  if (named.length + kept.length > 0) await record([...named, ...kept], "present");
  const gone = going.filter((_, index) => removals[index] === nodeV1.Removal.REMOVED);
  await marks.change({ clear: gone.map(({ digest }) => blobMark(digest)) });
  for (const blob of gone) pass.take("blobs", blob);
  telemetry.collected("blobs", gone);
}

/** Marks of blobs that are on no node here: other sites' bytes. */
async function forgetOld(
  { catalog, clock, graceMs, marks, timers, topology }: SweepParts,
  { signal }: SweepRun,
): Promise<void> {
  const isHere = (digest: Digest): boolean =>
    catalog.holders(digest).some((node) => parseNodeName(node)?.site === topology.site);
  for (const page of marks.pages("b")) {
    const old = page.filter(([key, { since }]) => clock.now() - since > 2 * graceMs && !isHere(key.slice(2) as Digest));
    await marks.change({ clear: old.map(([key]) => key) });
    await timers.sleep(0, { signal });
  }
}
