import { h2load, type Load, wrk } from "./load.ts";
import type { Content, Peer, ReadTarget } from "./peers/peer.ts";
import { isOnPath } from "./peers/program.ts";
import { type Figure, type PlannedRow, planned, SECONDS, type Target, type Worker } from "./rounds.ts";
import { streamRate } from "./stream-rate.ts";

type Say = (line: string) => void;

/** Manifest by tag, a small blob and a large one: plain, then over TLS. The first peer is Meridian. */
export function readRows(peers: readonly Peer[], say: Say): PlannedRow[] {
  const zotAndNginx = (zot: number): Target[] => [
    { peer: "zot", atLeast: zot },
    { peer: "nginx", atLeast: 1, aim: true },
  ];
  const large: Target[] = ["zot", "nginx"].map((peer) => ({ peer, atLeast: 1 }));
  const zotPlain: Target[] = [{ peer: "zot, plain", atLeast: 2 }];
  const rows = [
    requests("manifest GET by tag", peers, "manifest", false, wrk, zotAndNginx(2.5)),
    requests("blob GET 64 KiB", peers, "small", false, wrk, zotAndNginx(3)),
    streams("blob GET 100 MB, one stream", peers, false, large),
    requests("manifest, TLS 1.3, HTTP/1.1", peers, "manifest", true, wrk, zotPlain),
    requests("64 KiB, TLS 1.3, HTTP/1.1", peers, "small", true, wrk, []),
    streams("100 MB, TLS 1.3, HTTP/1.1", peers, true, [{ peer: "nginx", atLeast: 1 }]),
  ];
  if (isOnPath("h2load")) {
    rows.push(
      requests("manifest, TLS 1.3, HTTP/2", peers, "manifest", true, h2load, zotPlain),
      requests("64 KiB, TLS 1.3, HTTP/2", peers, "small", true, h2load, []),
    );
  } else say("the rows of HTTP/2 are left out: they need h2load (Debian: nghttp2-client) on PATH");
  return rows;
}

/** The name of {@link fromDiskRow}. */
export const FROM_DISK = "blob GET 64 KiB, from disk";

/** A small blob that `meridian` keeps nowhere but in its file. */
export function fromDiskRow(meridian: Peer, others: readonly Peer[]): PlannedRow {
  return requests(FROM_DISK, [meridian, ...others], "small", false, wrk, [{ peer: "zot", atLeast: 1.2 }]);
}

type Generator = (target: ReadTarget, seconds: number) => Promise<Load>;

function requests(
  work: string,
  peers: readonly Peer[],
  content: Content,
  secure: boolean,
  load: Generator,
  targets: readonly Target[],
): PlannedRow {
  const workers = workersFor(peers, content, secure, async (target) => {
    const { perSecond, requests: pieces } = await (target.url.startsWith("https:") ? load : wrk)(target, SECONDS);
    return { value: perSecond, pieces };
  });
  return planned({ work, unit: "/s", targets }, workers);
}

function streams(work: string, peers: readonly Peer[], secure: boolean, targets: readonly Target[]): PlannedRow {
  const workers = workersFor(peers, "large", secure, async (target) => ({
    value: (await streamRate(target)) / 1e9,
    pieces: 100,
  }));
  return planned({ work, unit: "GB/s", targets }, workers);
}

/** A peer that does not serve over TLS is compared as it is. */
function workersFor(
  peers: readonly Peer[],
  content: Content,
  secure: boolean,
  run: (target: ReadTarget) => Promise<Figure>,
): Worker[] {
  return peers.flatMap((peer) => {
    const target = peer.read(content, secure);
    if (target !== undefined) return [{ name: peer.name, peer, secure, run: () => run(target) }];
    const plain = peer.name === "zot" ? peer.read(content, false) : undefined;
    return plain === undefined ? [] : [{ name: `${peer.name}, plain`, peer, run: () => run(plain) }];
  });
}
