import { randomBytes } from "node:crypto";
import { type Peer, REPOSITORY } from "./peers/peer.ts";
import { sha256Of } from "./plain-client.ts";
import { type Figure, type PlannedRow, planned, SECONDS, type Worker } from "./rounds.ts";

const CLIENTS = 10;
/** The disk rests between rounds: what one peer left unwritten must not fall on the next. */
const REST_MS = 1_000;

/** Blobs pushed by ten clients at once, and one large one. */
export function pushRows(peers: readonly Peer[]): PlannedRow[] {
  return [
    planned(
      { work: "push 1 MB, 10 clients", unit: "/s", targets: [{ peer: "zot", atLeast: 1 }] },
      workersFor(peers, pushMany),
      REST_MS,
    ),
    planned(
      { work: "push 100 MB", unit: "s", targets: [{ peer: "zot", atMost: 1 }] },
      workersFor(peers, pushLarge),
      REST_MS,
    ),
  ];
}

type Push = (bytes: Uint8Array, digest: string) => Promise<unknown>;

function workersFor(peers: readonly Peer[], run: (push: Push) => Promise<Figure>): Worker[] {
  return peers.flatMap((peer) => {
    const { client, name } = peer;
    if (client === undefined) return [];
    return [{ name, peer, run: () => run((bytes, digest) => client.pushBlob(REPOSITORY, bytes, digest)) }];
  });
}

async function pushMany(push: Push): Promise<Figure> {
  const started = performance.now();
  const until = started + SECONDS * 1000;
  let pieces = 0;
  const one = async (): Promise<void> => {
    const bytes = randomBytes(1_000_000);
    while (performance.now() < until) {
      bytes.writeDoubleLE(Math.random(), 0);
      await push(bytes, sha256Of(bytes));
      pieces += 1;
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, one));
  return { value: (pieces * 1000) / (performance.now() - started), pieces };
}

async function pushLarge(push: Push): Promise<Figure> {
  const bytes = randomBytes(100_000_000);
  const digest = sha256Of(bytes);
  const started = performance.now();
  await push(bytes, digest);
  return { value: (performance.now() - started) / 1000, pieces: 1 };
}
