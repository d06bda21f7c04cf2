import { setTimeout as sleep } from "node:timers/promises";
import { memoryOf, type Peer } from "./peers/peer.ts";
import { type Download, openDownload } from "./stream-rate.ts";

/** The name of the row. */
export const MANY_STREAMS = "200 streams of 100 MB";
const STREAMS = 200;
const SECONDS = 10;

/** What 200 downloads of 100 MB at once do to a peer. */
export interface ManyStreams {
  readonly peer: string;
  /** The most seen, in bytes; private memory is RssAnon. */
  readonly resident: number;
  readonly anonymous: number;
  /** Bytes that the slowest stream got, divided by the mean of all. */
  readonly slowestShare: number;
}

/** Runs them for ten seconds, whether or not they come to their ends. Undefined when the peer does not serve blobs. */
export async function benchManyStreams(peer: Peer): Promise<ManyStreams | undefined> {
  const target = peer.read("large", false);
  if (target === undefined) return undefined;
  const downloads: Download[] = [];
  const pids = peer.pids(false);
  let resident = 0;
  let anonymous = 0;
  try {
    for (let i = 0; i < STREAMS; i++) downloads.push(openDownload(target, 16 * 1024));
    for (const { finished } of downloads) finished.catch(() => undefined);
    for (let second = 0; second < SECONDS * 4; second++) {
      await sleep(250);
      const memory = memoryOf(pids);
      resident = Math.max(resident, memory.resident);
      anonymous = Math.max(anonymous, memory.anonymous);
    }
    const bytes = downloads.map((download) => download.bytes());
    const mean = bytes.reduce((sum, one) => sum + one, 0) / bytes.length;
    return { peer: peer.name, resident, anonymous, slowestShare: Math.min(...bytes) / mean };
  } finally {
    for (const { socket } of downloads) socket.destroy();
  }
}
