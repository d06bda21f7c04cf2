import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Topology } from "@meridian/cluster";
import { createIdentifyPeer, type DevPki, ensureDevPki, fileTlsSource } from "@meridian/pki";
import {
  createLogger,
  createManualTime,
  createSystemClock,
  type LogFields,
  type Logger,
  type ManualTime,
  systemTimers,
  type Timers,
} from "@meridian/runtime";
import { type BlobStore, type ByteSink, openFilesystemStore } from "@meridian/storage";
import { createByteClient, type NodeBytes, type NodeDirectory } from "@meridian/transfer";
import { type BlobNodeConfig, blobNodeConfigSchema } from "./config.ts";
import { type BlobNode, type BlobNodeDeps, startBlobNode } from "./start-blob-node.ts";
import { createTestLink, type TestLink } from "./test-link.ts";

/** Blob nodes of several sites in this process, joined by links over TLS. */
export interface TestCluster extends AsyncDisposable {
  /** Starts the node of a site, with its store on disk at `root(site)`. */
  start(site: string, options?: TestNodeOptions): Promise<TestNode>;
  /** The link by which one site's node reaches another's. */
  link(from: string, to: string): Promise<TestLink>;
  root(site: string): string;
}

/** What a test may change about a node. */
export interface TestNodeOptions {
  readonly config?: Partial<BlobNodeConfig>;
  readonly store?: (store: BlobStore) => BlobStore;
  readonly deps?: Partial<BlobNodeDeps>;
}

/** One running node. */
export interface TestNode extends AsyncDisposable {
  readonly node: BlobNode;
  readonly store: BlobStore;
  /** Its bytes as a gateway of the same site in another process has them. */
  readonly remote: NodeBytes;
  /** How it reaches the nodes that were started before it. */
  readonly nodes: NodeDirectory;
  /** Messages of warnings and errors. */
  readonly logged: string[];
  /** Digests given to `onStored`. */
  readonly stored: string[];
}

const SITES = ["eu", "us", "ap"];
// Nothing is a stall by the machine's time, however busy it is: a test about stalls moves a StallTime.
const NEVER_MS = 60_000;
const DEADLINE_MS = 30_000;
const STEP_MS = 20;

const clock = createSystemClock();

/** Makes the certificates of eu, us and ap in a folder; call it once for many clusters. */
export function createTestCertificates(dir: string): Promise<DevPki> {
  const processes = ["blob-node", "gateway"].map((service) => ({ process: service, service }));
  const sites = SITES.map((name) => ({ name, processes }));
  return ensureDevPki({ dir, trustDomain: "test", sites, clock });
}

/** An empty folder for each of eu, us and ap. */
export async function createTestCluster(pki: DevPki): Promise<TestCluster> {
  const dir = await mkdtemp(join(tmpdir(), "meridian-blob-node-"));
  const identify = createIdentifyPeer("test");
  const stack = new AsyncDisposableStack();
  stack.defer(() => rm(dir, { recursive: true }));
  const quiet = createLogger({ level: "error", write: () => {} });
  const root = (site: string): string => join(dir, site);
  const urls = new Map<string, string>();
  const links = new Map<string, TestLink>();

  const tls = (site: string, service: string) =>
    stack.use(fileTlsSource({ ...pki.sites[site]!.processes[service]!, ca: pki.ca }));
  const link = async (from: string, to: string): Promise<TestLink> => {
    const name = `${from} ${to}`;
    const made = links.get(name) ?? stack.use(await createTestLink(urls.get(to)!));
    links.set(name, made);
    return made;
  };

  return {
    root,
    link,
    async start(site, { config = {}, store: change, deps = {} } = {}) {
      const started = new AsyncDisposableStack();
      const opened = await openFilesystemStore({ root: root(site), clock, timers: systemTimers, log: quiet });
      started.use(opened);
      const store = change === undefined ? opened : change(opened);
      const own = { tls: tls(site, "blob-node"), identify };
      const clients = new Map<string, NodeBytes>();
      for (const other of urls.keys()) {
        if (other === site) continue;
        const node = `${other}/blob-node`;
        const client = createByteClient({ node, url: (await link(site, other)).url, ...own, log: quiet });
        clients.set(node, started.use(client));
      }
      const nodes: NodeDirectory = {
        bytesOf: (node: string) => clients.get(node),
        attach: () => ({ [Symbol.dispose]: () => {} }),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
      const logged: string[] = [];
      const stored: string[] = [];
      const topology = topologyOf(site);
      const parsed = blobNodeConfigSchema.parse({
        bytes: { host: "127.0.0.1", port: 0 },
        stallTimeoutMs: NEVER_MS,
        ...config,
      });
      const node = started.use(
        await startBlobNode(parsed, {
          ...{ topology, store, nodes, ...own, log: recording(logged) },
          onStored: (digest) => void stored.push(digest),
          ...deps,
        }),
      );
      urls.set(site, node.url);
      const gateway = { tls: tls(site, "gateway"), identify };
      const remote = started.use(createByteClient({ node: node.node, url: node.url, ...gateway, log: quiet }));
      return { node, store, remote, nodes, logged, stored, [Symbol.asyncDispose]: () => started.disposeAsync() };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function topologyOf(site: string): Topology {
  return { cluster: "test", site, process: "blob-node", sites: SITES, processes: [] };
}

function recording(lines: string[]): Logger {
  const keep = (message: string, fields?: LogFields): void => {
    lines.push(`${message} ${String(fields?.holder ?? "")}`.trim());
  };
  const logger: Logger = { debug: () => {}, info: () => {}, warn: keep, error: keep, child: () => logger };
  return logger;
}

/** A sink that keeps a copy of what it is given, and waits before each chunk if told so. */
export class Collected implements ByteSink {
  readonly #chunks: Buffer[] = [];
  before: (length: number) => Promise<void> | void = () => {};
  length = 0;

  async write(chunk: Uint8Array): Promise<void> {
    await this.before(this.length);
    this.#chunks.push(Buffer.from(chunk));
    this.length += chunk.byteLength;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

/** Waits until it holds, for at most half a minute. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await systemTimers.sleep(2);
  }
}

/**
 * Time for a node whose watches are moved by the test: what is silent is so for as long as the test says, and what only
 * has to wait for a busy machine is not. Everything else of the node goes by the system's timers.
 */
export class StallTime {
  readonly #manual: ManualTime = createManualTime(0);
  readonly clock = this.#manual.clock;
  readonly timers: Timers = { ...systemTimers, every: this.#manual.timers.every };

  /** Lets time pass in small steps until it holds; resolves with the milliseconds that passed for the node. */
  async passUntil(holds: () => boolean, what: string): Promise<number> {
    const began = this.clock.monotonic();
    const deadline = performance.now() + DEADLINE_MS;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
      await this.#manual.advance(STEP_MS);
      await systemTimers.sleep(2);
    }
    return this.clock.monotonic() - began;
  }
}
