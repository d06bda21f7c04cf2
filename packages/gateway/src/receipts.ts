import type { Peers, SiteMonitor, Topology } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { siteV1 } from "@meridian/wire";
import type { ImageStates } from "./image-state.ts";

/** One site's line in a replication receipt. */
export interface SiteReceipt {
  readonly name: string;
  /** "unreachable": the site could not be asked. */
  readonly state: "absent" | "metadata" | "blobs" | "complete" | "unreachable";
  readonly blobsPresent: number;
  readonly blobsTotal: number;
  /** Bytes that the site holds. */
  readonly bytes: number;
  /** Milliseconds; null when unknown. */
  readonly etaMs: number | null;
}

/** What image a receipt is about. */
export interface ReceiptQuestion {
  readonly repository: string;
  readonly digest: Digest;
  /** Empty when asked by digest. */
  readonly tag: string;
}

/** What all sites hold of an image. */
export interface Receipts {
  ask(question: ReceiptQuestion, signal: AbortSignal): Promise<SiteReceipt[]>;
  /** Asks again until every named site is complete or `timeoutMs` pass; `complete` tells which. */
  wait(
    question: ReceiptQuestion,
    options: { readonly sites: readonly string[]; readonly timeoutMs: number; readonly signal: AbortSignal },
  ): Promise<{ readonly sites: SiteReceipt[]; readonly complete: boolean }>;
}

const POLL_MS = 150;
const ASK_TIMEOUT_MS = 3_000;

const STATES: Readonly<Record<siteV1.ImageState, SiteReceipt["state"]>> = {
  [siteV1.ImageState.UNSPECIFIED]: "absent",
  [siteV1.ImageState.ABSENT]: "absent",
  [siteV1.ImageState.METADATA]: "metadata",
  [siteV1.ImageState.BLOBS]: "blobs",
  [siteV1.ImageState.COMPLETE]: "complete",
};

interface ReceiptsOptions {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly images: ImageStates;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

export function createReceipts(options: ReceiptsOptions): Receipts {
  const { topology, clock, timers } = options;
  const ask: Receipts["ask"] = (question, signal) =>
    Promise.all(topology.sites.map((site) => askSite(site, question, signal, options)));
  return {
    ask,
    async wait(question, { sites, timeoutMs, signal }) {
      const deadline = clock.monotonic() + timeoutMs;
      for (;;) {
        const receipts = await ask(question, signal);
        const complete = sites.every((name) => receipts.find((receipt) => receipt.name === name)?.state === "complete");
        const left = deadline - clock.monotonic();
        if (complete || left <= 0) return { sites: receipts, complete };
        await timers.sleep(Math.min(POLL_MS, left), { signal });
      }
    },
  };
}

async function askSite(
  site: string,
  question: ReceiptQuestion,
  signal: AbortSignal,
  options: ReceiptsOptions,
): Promise<SiteReceipt> {
  const { topology, images } = options;
  if (site === topology.site) {
    const { state, blobsPresent, blobsTotal, bytes, etaMs } = await images.look(
      question.repository,
      question.digest,
      question.tag,
    );
    return { name: site, state: STATES[state] ?? "absent", blobsPresent, blobsTotal, bytes, etaMs: etaMs ?? null };
  }
  return (await askPeer(site, question, signal, options)) ?? unreachable(site);
}

async function askPeer(
  site: string,
  question: ReceiptQuestion,
  signal: AbortSignal,
  { peers, monitor, log }: ReceiptsOptions,
): Promise<SiteReceipt | undefined> {
  const [gateway] = peers.processes("gateway", site);
  if (gateway === undefined || monitor.health(site).state === "down") return undefined;
  try {
    const client = peers.client(siteV1.SiteService, gateway);
    const answer = await client.replication({ ...question }, { timeoutMs: ASK_TIMEOUT_MS, signal });
    return {
      name: site,
      state: STATES[answer.state] ?? "absent",
      blobsPresent: answer.blobsPresent,
      blobsTotal: answer.blobsTotal,
      bytes: Number(answer.bytes),
      etaMs: answer.etaMs === undefined ? null : Number(answer.etaMs),
    };
  } catch (error) {
    signal.throwIfAborted();
    log.debug("a site could not be asked for a receipt", { site, error });
    return undefined;
  }
}

function unreachable(name: string): SiteReceipt {
  return { name, state: "unreachable", blobsPresent: 0, blobsTotal: 0, bytes: 0, etaMs: null };
}
