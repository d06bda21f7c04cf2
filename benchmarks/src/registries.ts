import { randomBytes } from "node:crypto";
import { firstPullRow } from "./first-pull.ts";
import { benchManyStreams, MANY_STREAMS, type ManyStreams } from "./many-streams.ts";
import { MeridianSites } from "./peers/meridian.ts";
import { MeridianFromDisk } from "./peers/meridian-from-disk.ts";
import { StaticNginx } from "./peers/nginx.ts";
import { startDistribution, startZot } from "./peers/open-registries.ts";
import type { Fixture, Peer } from "./peers/peer.ts";
import { isOnPath } from "./peers/program.ts";
import { manifestOf, sha256Of } from "./plain-client.ts";
import { pushRows } from "./pushes.ts";
import { FROM_DISK, fromDiskRow, readRows } from "./reads.ts";
import type { PlannedRow, Row } from "./rounds.ts";

/** Which parts of the table are measured. */
export interface Parts {
  readonly pull: boolean;
  readonly push: boolean;
  /** Whether a row of that name is. */
  readonly wantsRow: (work: string) => boolean;
}

/** What was measured. */
export interface Measured {
  readonly peers: readonly string[];
  readonly rows: readonly Row[];
  readonly streams: readonly ManyStreams[];
}

/** Meridian beside the peers that are on PATH, each with the same bytes, in one run. */
export async function benchRegistries(parts: Parts, say: (line: string) => void): Promise<Measured> {
  await using opened = new AsyncDisposableStack();
  const fixture = makeFixture();
  const meridian = opened.use(await MeridianSites.start(fixture));
  const peers: Peer[] = [meridian];
  const add = async (program: string, start: () => Promise<Peer>): Promise<void> => {
    if (isOnPath(program)) peers.push(opened.use(await start()));
    else say(`${program} is left out: it is not on PATH`);
  };
  await add("zot", () => startZot(fixture));
  await add("registry", () => startDistribution(fixture));
  await add("nginx", () => StaticNginx.start(fixture, meridian.tls));

  const rows: Row[] = [];
  const streams: ManyStreams[] = [];
  const measure = async (planned: readonly PlannedRow[]): Promise<void> => {
    for (const row of planned.filter(({ work }) => parts.wantsRow(work))) {
      rows.push(await row.measure());
      say(`${row.work}: done`);
    }
  };
  if (parts.pull) {
    await measure([...readRows(peers, say), firstPullRow(peers)]);
    if (parts.wantsRow(FROM_DISK)) {
      await using uncached = await MeridianFromDisk.start(fixture);
      await measure([fromDiskRow(uncached, peers.slice(1))]);
    }
    for (const peer of parts.wantsRow(MANY_STREAMS) ? peers : []) {
      const result = await benchManyStreams(peer);
      if (result !== undefined) streams.push(result);
      say(`${MANY_STREAMS} from ${peer.name}: done`);
    }
  }
  if (parts.push) await measure(pushRows(peers));
  return { peers: peers.map(({ name }) => name), rows, streams };
}

function makeFixture(): Fixture {
  const small = randomBytes(64 * 1024);
  const large = randomBytes(100_000_000);
  const layers = [small, large].map((bytes) => ({ digest: sha256Of(bytes), size: bytes.length }));
  const config = { digest: sha256Of(Buffer.from("{}")), size: 2 };
  return { manifest: manifestOf(config, layers, "bench"), small, large };
}
