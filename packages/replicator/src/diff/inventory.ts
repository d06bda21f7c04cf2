import type { Catalog, ComparedRow, RowSource } from "@meridian/catalog";
import { nodeName, type Peers, type ProcessAddress, parseNodeName, Role } from "@meridian/cluster";
import { ContentError, type Digest, tryParseDigest } from "@meridian/oci";
import { type PlacementSettings, placementAt } from "@meridian/policy";
import { blobV1, type diffV1, nodeV1 } from "@meridian/wire";
import type { WantedBlobs } from "../wanted-blobs.ts";

/** What {@link Inventory} needs. */
export interface InventoryOptions {
  readonly catalog: Pick<Catalog, "repositoriesOf" | "holders" | "blob" | "manifest" | "collectable">;
  readonly peers: Peers;
  readonly settings: Pick<PlacementSettings, "of">;
  readonly wanted: Pick<WantedBlobs, "get">;
  /** Has everything visible looked through for blobs that are missing. */
  readonly rescan: () => void;
}

/** What a site says of one blob. */
export type Holding = Omit<diffV1.Holding, "$typeName">;

/** The range of all digests. */
export const ALL_BLOBS = { from: "s", to: "t" } as const;

const PAGE = 1_000;
const NODE_TIMEOUT_MS = 60_000;
/** A digest that more repositories show is judged by so many of them. */
const MAX_REPOSITORIES = 10_000;
const HASH_CHARACTERS = 32;

/** What is on the disks of this site's nodes, beside what should be there. */
export class Inventory {
  readonly #options: InventoryOptions;

  constructor(options: InventoryOptions) {
    this.#options = options;
  }

  /**
   * Blobs on this site's nodes that some repository shows and that all of the sites keep (eager).
   * @throws ContentError `unavailable`, naming the node that cannot be asked: nothing can be said without it.
   */
  rows(sites: readonly string[], signal: AbortSignal): RowSource {
    const listed = (from: string, to: string): AsyncIterable<string[]> => this.#listed(from, to, signal);
    const isKept = (digest: Digest): boolean => this.#keptBy(digest, sites) !== undefined;
    return async function* ({ from, to }) {
      for await (const digests of listed(from, to)) {
        yield digests.flatMap((text): ComparedRow[] => {
          const digest = tryParseDigest(text);
          return digest !== undefined && isKept(digest) ? [{ key: digest, hash: hashOf(digest) }] : [];
        });
      }
    };
  }

  /** @throws ContentError `unavailable` as {@link rows} does. */
  async look(digests: readonly Digest[], signal: AbortSignal): Promise<Holding[]> {
    const { catalog, peers, wanted } = this.#options;
    const { site } = peers.topology;
    const held = new Set<Digest>();
    for (const address of this.#nodes()) {
      const client = peers.client(nodeV1.NodeService, address);
      const answer = await asked(
        address,
        client.holds({ digests: [...digests] }, { timeoutMs: NODE_TIMEOUT_MS, signal }),
      );
      for (const [index, digest] of digests.entries()) if (answer.held[index] === true) held.add(digest);
    }
    return digests.map((digest) => {
      const repository = this.#keptBy(digest, [site]) ?? "";
      const state = wanted.get(digest)?.state;
      const view = catalog.blob(repository, digest) ?? catalog.manifest(repository, digest);
      return {
        expected: repository !== "",
        held: held.has(digest),
        // What rests after a failure is tried again, for ever: its site knows that it lacks it.
        underWay: state !== undefined && state !== "homeless" && state !== "poisoned",
        recorded: this.#recordedAt(digest).length > 0,
        repository,
        size: BigInt(view?.size ?? 0),
      };
    });
  }

  /**
   * Has missing blobs fetched as ever: a node that is said to hold them looks on its disk, and what nobody is said to
   * hold here is looked for. Nothing is fetched that no repository shows.
   */
  async fetchAgain(digests: readonly Digest[], signal: AbortSignal): Promise<void> {
    const { peers } = this.#options;
    const byNode = new Map<string, Digest[]>();
    for (const digest of digests)
      for (const node of this.#recordedAt(digest)) byNode.set(node, [...(byNode.get(node) ?? []), digest]);
    for (const [node, expected] of byNode) {
      const address = peers.process(peers.topology.site, parseNodeName(node)?.process ?? "");
      if (address === undefined) continue;
      const blobs = expected.map((digest) => ({ digest, size: 0n }));
      const client = peers.client(blobV1.BlobNodeService, address);
      await asked(address, client.expect({ blobs }, { timeoutMs: NODE_TIMEOUT_MS, signal }));
    }
    this.#options.rescan();
  }

  #recordedAt(digest: Digest): string[] {
    const { catalog, peers } = this.#options;
    return catalog.holders(digest).filter((node) => parseNodeName(node)?.site === peers.topology.site);
  }

  /** A repository that needs it, for a link alone is no reason, and that all of the sites keep; undefined when there is none. */
  #keptBy(digest: Digest, sites: readonly string[]): string | undefined {
    const { catalog, settings } = this.#options;
    return catalog
      .repositoriesOf(digest, MAX_REPOSITORIES)
      .find(
        (repository) =>
          sites.every((site) => placementAt(settings.of(repository), site) === "eager") &&
          !catalog.collectable.isLone(repository, digest),
      );
  }

  #nodes(): readonly ProcessAddress[] {
    const { peers } = this.#options;
    return peers.processes(Role.blobNode, peers.topology.site);
  }

  /** Digests on any node, each once and in order. */
  async *#listed(from: string, to: string, signal: AbortSignal): AsyncGenerator<string[], void, undefined> {
    const nodes = this.#nodes().map((address) => new ListedNode(this.#options.peers, { address, from, signal }));
    while (true) {
      await Promise.all(nodes.map((node) => node.fill()));
      const heads = nodes.flatMap(({ page }) => page[0] ?? []);
      if (heads.length === 0) return;
      // As far as every node is known: the first page that ends says how far that is.
      const upTo = nodes.flatMap(({ page, isLast }) => (isLast ? [] : (page.at(-1) ?? []))).sort()[0];
      const taken = [...new Set(nodes.flatMap((node) => node.take(upTo)))].sort();
      yield taken.filter((digest) => digest < to);
      if ((taken.at(-1) ?? to) >= to) return;
    }
  }
}

/** One node's listing, a page at a time. */
class ListedNode {
  page: string[] = [];
  isLast = false;
  readonly #peers: Peers;
  readonly #address: ProcessAddress;
  readonly #signal: AbortSignal;
  #after: string;

  constructor(
    peers: Peers,
    {
      address,
      from,
      signal,
    }: { readonly address: ProcessAddress; readonly from: string; readonly signal: AbortSignal },
  ) {
    this.#peers = peers;
    this.#address = address;
    this.#signal = signal;
    this.#after = digestBefore(from);
  }

  async fill(): Promise<void> {
    if (this.page.length > 0 || this.isLast) return;
    const client = this.#peers.client(nodeV1.NodeService, this.#address);
    const request = { after: this.#after, limit: PAGE };
    const { blobs } = await asked(
      this.#address,
      client.list(request, { timeoutMs: NODE_TIMEOUT_MS, signal: this.#signal }),
    );
    this.page = blobs.map(({ digest }) => digest);
    this.#after = this.page.at(-1) ?? this.#after;
    this.isLast = blobs.length < PAGE;
  }

  /** Takes what is not after `upTo`; all of the page when that is undefined. */
  take(upTo: string | undefined): string[] {
    const end = upTo === undefined ? -1 : this.page.findIndex((digest) => digest > upTo);
    return this.page.splice(0, end < 0 ? this.page.length : end);
  }
}

/** The digest after which `from` comes; empty where that is the first of all. */
function digestBefore(from: string): string {
  const [algorithm = "", hex = ""] = from.split(":");
  if (hex === "" || /^0+$/.test(hex)) return "";
  return `${algorithm}:${(BigInt(`0x${hex}`) - 1n).toString(16).padStart(hex.length, "0")}`;
}

/** A digest is a hash already. */
function hashOf(digest: Digest): Uint8Array {
  return Buffer.from(digest.slice(digest.indexOf(":") + 1, digest.indexOf(":") + 1 + HASH_CHARACTERS), "hex");
}

async function asked<T>(address: ProcessAddress, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ContentError("unavailable", `${nodeName(address)} cannot be asked what it holds: ${reason}`, { cause });
  }
}
