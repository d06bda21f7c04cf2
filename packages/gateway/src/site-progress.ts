import { type Peers, Role } from "@meridian/cluster";
import type { ServiceClient } from "@meridian/rpc";
import type { Logger } from "@meridian/runtime";
import { type policyV1, replicationV1 } from "@meridian/wire";
import type { DrainState } from "./end-membership.ts";

interface AskParts {
  readonly peers: Peers;
  readonly log: Logger;
}

const TIMEOUT_MS = 3_000;
/** It looks through all that the site holds. */
const DRAIN_TIMEOUT_MS = 60_000;

/** How far a site has come with all that it keeps. */
export interface SiteProgress {
  readonly blobs: number;
  readonly bytes: number;
  readonly bytesPerSecond: number;
  /** Null while it cannot be told. */
  readonly etaMs: number | null;
  /** Records that it knows of and has not copied yet. */
  readonly records: number;
  /** True once it serves: it had copied the records that there were when it joined. */
  readonly joined: boolean;
  /** True once it has looked through everything, and waits for nothing. */
  readonly complete: boolean;
}

/** Undefined when the site does not answer. */
export async function askProgress(site: string, parts: AskParts): Promise<SiteProgress | undefined> {
  const answer = await ask(site, parts, (client) => client.progress({}, { timeoutMs: TIMEOUT_MS }));
  if (answer === undefined) return undefined;
  const { links, homeless, scanned, joined } = answer;
  const sum = (of: (link: replicationV1.LinkProgress) => bigint): number =>
    links.reduce((total, link) => total + Number(of(link)), 0);
  const [blobs, bytes, rate] = [
    sum((link) => link.blobs),
    sum((link) => link.bytes),
    sum((link) => link.bytesPerSecond),
  ];
  const records = sum((link) => link.records);
  return {
    ...{ blobs, bytes, bytesPerSecond: rate, records, joined },
    etaMs: bytes === 0 ? 0 : rate === 0 ? null : Math.round((bytes / rate) * 1_000),
    complete: scanned && joined && blobs === 0 && records === 0 && homeless === 0n,
  };
}

/** What would be lost with a site; undefined when it does not answer. */
export async function askDrain(site: string, parts: AskParts): Promise<DrainState | undefined> {
  const answer = await ask(site, parts, (client) => client.drain({}, { timeoutMs: DRAIN_TIMEOUT_MS }));
  if (answer === undefined) return undefined;
  const { blobs, bytes, digests } = answer;
  const [head, copied] = [Number(answer.head), Number(answer.copied)];
  return { blobs: Number(blobs), bytes: Number(bytes), records: Math.max(0, head - copied), head, copied, digests };
}

/** Up to where a site has copied the log of another one; undefined when it does not answer, or has none of it. */
export async function askCopied(
  site: string,
  origin: string,
  parts: AskParts,
): Promise<policyV1.CopiedLog | undefined> {
  const answer = await ask(site, parts, (client) => client.progress({}, { timeoutMs: TIMEOUT_MS }));
  return answer?.links.find(({ from }) => from === origin)?.copied;
}

async function ask<T>(
  site: string,
  { peers, log }: AskParts,
  call: (client: ServiceClient<typeof replicationV1.ReplicationService>) => Promise<T>,
): Promise<T | undefined> {
  for (const address of peers.processes(Role.replicator, site)) {
    try {
      return await call(peers.client(replicationV1.ReplicationService, address));
    } catch (error) {
      log.debug("a replicator did not say how far it is", { site, process: address.process, error });
    }
  }
  return undefined;
}
