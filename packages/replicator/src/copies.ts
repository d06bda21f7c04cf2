import type { Catalog } from "@meridian/catalog";
import {
  createNodeWatch,
  type NodeWatch,
  nodeName,
  type Peers,
  parseNodeName,
  Role,
  type SiteMonitor,
} from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { SitePlacement } from "@meridian/policy";
import type { RpcServer } from "@meridian/rpc";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { nodeV1 } from "@meridian/wire";
import type { ReplicatorConfig } from "./config.ts";
import { CopyScan } from "./copy-scan.ts";
import { type CopyProgress, CopySettler } from "./copy-settler.ts";
import { LostNodes } from "./lost-nodes.ts";

/** What {@link startCopies} needs. */
export interface CopiesOptions {
  readonly config: ReplicatorConfig;
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  /** What this site keeps of a repository. */
  readonly placement: (repository: string) => SitePlacement;
  /** CopyService is registered here. */
  readonly rpc: Pick<RpcServer, "register">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** How the copies of this site's blobs are kept where they belong. */
export interface Copies extends AsyncDisposable {
  readonly watch: NodeWatch;
  readonly progress: CopyProgress & { readonly scanning: boolean };
  /** Asks every node soon whether it has what the records say: they may tell of another disk. */
  askNodes(): void;
}

const REPORT_EVERY_MS = 30_000;

/** Watches this site's nodes and blobs, and settles copies, until disposed. */
export function startCopies(options: CopiesOptions): Copies {
  const { config, catalog, peers, rpc, timers, log } = options;
  const open = new AsyncDisposableStack();
  const watch = open.use(createNodeWatch(options));
  const { site } = peers.topology;
  const nodes = (): string[] => peers.processes(Role.blobNode, site).map(nodeName);
  const changed = (): void => {
    settler.wakeAll();
    scan.look();
  };
  const lost = open.use(new LostNodes({ watch, nodes, lostAfterMs: config.nodeLostAfterMs, timers, changed }));
  const copies = (): number => config.copies ?? (Math.min(2, watch.keepers().length) || 1);
  const { copiesAtOnce: atOnce, copyBytesPerSecond: bytesPerSecond } = config;
  const settler = open.use(new CopySettler({ ...options, ...config, watch, lost, copies, atOnce, bytesPerSecond }));
  const scan = open.use(
    new CopyScan({ catalog, peers, watch, settler, everyMs: config.checkCopiesEveryMs, timers, log }),
  );
  open.use(considerNews({ catalog, site, settler, delayMs: config.copyDelayMs, timers }));
  const progress = (): Copies["progress"] => ({ ...settler.progress, scanning: scan.scanning });
  open.use(
    timers.every(REPORT_EVERY_MS, () => {
      if (settler.progress.waiting > 0) log.info("copies are being settled", { ...settler.progress });
    }),
  );
  rpc.register(
    nodeV1.CopyService,
    { copies: async () => wireProgress(progress()) },
    { allow: (peer) => peer.site === site },
  );
  return {
    watch,
    get progress() {
      return progress();
    },
    askNodes: () => scan.askAll(),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

/** Looks at blobs that a node of this site has just got or lost, or that are linked only now, a moment later: a push is not to be disturbed. */
function considerNews({
  catalog,
  site,
  settler,
  delayMs,
  timers,
}: {
  readonly catalog: Catalog;
  readonly site: string;
  readonly settler: CopySettler;
  readonly delayMs: number;
  readonly timers: Timers;
}): Disposable {
  let fresh = new Set<Digest>();
  let due = new Set<Digest>();
  const open = new DisposableStack();
  open.use(
    catalog.subscribe((events) => {
      for (const event of events) {
        if (event.kind === "holder") {
          if (parseNodeName(event.node)?.site === site) fresh.add(event.digest);
        } else if (event.kind === "link" && event.visible && settler.isLeftAlone(event.digest)) {
          fresh.add(event.digest);
        }
      }
    }),
  );
  open.use(
    timers.every(delayMs, () => {
      for (const digest of due) settler.consider(digest);
      due = fresh;
      fresh = new Set();
    }),
  );
  return open;
}

function wireProgress({ waiting, copied, copiedBytes, removed, failed, scanning }: Copies["progress"]) {
  return {
    waiting: BigInt(waiting),
    copied: BigInt(copied),
    copiedBytes: BigInt(copiedBytes),
    removed: BigInt(removed),
    failed: BigInt(failed),
    scanning,
  };
}
