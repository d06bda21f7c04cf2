import { type Digest, digestHex } from "@meridian/oci";

/**
 * Orders nodes for a digest by rendezvous hashing (highest random weight; Thaler and Ravishankar 1998): every process
 * computes the same order from the names alone, and a node that leaves moves only the digests it was first for.
 * The order is part of what sites agree on: the hash below never changes.
 */
export function rankNodes(digest: Digest, nodes: readonly string[]): string[] {
  const hex = digestHex(digest);
  const high = Number.parseInt(hex.slice(0, 8), 16);
  const low = Number.parseInt(hex.slice(8, 16), 16);
  return nodes
    .map((node) => weigh(node, high, low))
    .sort(byWeight)
    .map(({ node }) => node);
}

/** A node as placement sees it. */
export interface PlacedNode {
  /** site/process */
  readonly node: string;
  /** What it shares with others (rack, power, machine); absent: nothing. */
  readonly zone?: string | undefined;
}

/**
 * All nodes in the order in which they are to keep a digest: the first `n` are its owners when there are to be `n`
 * copies. That of {@link rankNodes}, but that a node whose zone has more copies than another's waits for the other.
 */
export function placementOrder(digest: Digest, nodes: readonly PlacedNode[]): string[] {
  if (!nodes.some(({ zone }) => zone !== undefined))
    return rankNodes(
      digest,
      nodes.map(({ node }) => node),
    );
  const zones = new Map(nodes.map(({ node, zone }) => [node, zone === undefined ? `node ${node}` : `zone ${zone}`]));
  let waiting = rankNodes(digest, [...zones.keys()]);
  const order: string[] = [];
  while (waiting.length > 0) {
    // One of each zone that has any left, the best of it first.
    const taken = new Set<string>();
    const later: string[] = [];
    for (const node of waiting) {
      const zone = zones.get(node)!;
      if (taken.has(zone)) later.push(node);
      else order.push(node);
      taken.add(zone);
    }
    waiting = later;
  }
  return order;
}

/** The nodes that keep a digest: the first `copies` of {@link placementOrder}, fewer when there are fewer nodes. */
export function ownersOf(digest: Digest, nodes: readonly PlacedNode[], copies: number): string[] {
  return placementOrder(digest, nodes).slice(0, copies);
}

/** A node with its 64-bit weight for one digest, in two halves. */
interface Weighed {
  readonly node: string;
  readonly high: number;
  readonly low: number;
}

function byWeight(a: Weighed, b: Weighed): number {
  return b.high - a.high || b.low - a.low || (a.node < b.node ? -1 : a.node > b.node ? 1 : 0);
}

/** The digest is random already: its first 64 bits are mixed with the name's hash, lane by lane, then across. */
function weigh(node: string, high: number, low: number): Weighed {
  const [seedA, seedB] = seedsOf(node);
  const a = mix(high ^ seedA);
  const b = mix(low ^ seedB ^ a);
  return { node, high: mix(a ^ b ^ seedB), low: b };
}

/** The finalizer of MurmurHash3 (Appleby): every input bit changes each output bit with probability near one half. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const seeds = new Map<string, readonly [number, number]>();
const MAX_SEEDS = 4096;

/** Two FNV-1a hashes of the name with different bases, remembered: names are few and digests many. */
function seedsOf(node: string): readonly [number, number] {
  const known = seeds.get(node);
  if (known !== undefined) return known;
  if (seeds.size >= MAX_SEEDS) seeds.clear();
  const bytes = Buffer.from(node, "utf8");
  const made = [fnv1a(bytes, 0x811c9dc5), fnv1a(bytes, 0x01000193)] as const;
  seeds.set(node, made);
  return made;
}

function fnv1a(bytes: Uint8Array, basis: number): number {
  let hash = basis;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return mix(hash);
}
