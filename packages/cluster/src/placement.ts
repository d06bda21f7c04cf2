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

/** The nodes that keep a digest: the first `copies` of {@link rankNodes}, fewer when there are fewer nodes. */
export function ownersOf(digest: Digest, nodes: readonly string[], copies: number): string[] {
  return rankNodes(digest, nodes).slice(0, copies);
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
