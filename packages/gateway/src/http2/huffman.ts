/**
 * Lengths in bits, in base 36, of the codes of byte 0 to 255 and of the end of a string (RFC 7541, Appendix B). The codes
 * follow from them: they ascend by length, and among those of one length by the byte that they stand for.
 */
const CODE_LENGTHS =
  "dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad67777777777777777777777878djde6" +
  "f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
  "qqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu";

const END_OF_STRING = 256;
/** Padding is shorter than a byte, and all ones: the first bits of the end of a string. */
const MAX_PADDING_BITS = 7;

/**
 * The codes as a tree: node n has its children at 2n (bit 0) and 2n + 1 (bit 1). A child is another node, or a leaf, kept
 * as the one's complement of what it stands for.
 */
const TREE = buildTree();

function buildTree(): Int16Array {
  const tree = new Int16Array(2 * (CODE_LENGTHS.length - 1));
  const symbols = Array.from(CODE_LENGTHS, (digit, symbol) => ({ symbol, length: Number.parseInt(digit, 36) }));
  symbols.sort((a, b) => a.length - b.length || a.symbol - b.symbol);
  let nodes = 1;
  let code = 0;
  let before = 0;
  for (const { symbol, length } of symbols) {
    code *= 2 ** (length - before);
    before = length;
    let node = 0;
    for (let bit = length - 1; bit > 0; bit--) {
      const at = 2 * node + ((code >>> bit) & 1);
      if (tree[at] === 0) tree[at] = nodes++;
      node = tree[at]!;
    }
    tree[2 * node + (code & 1)] = ~symbol;
    code += 1;
  }
  return tree;
}

/** Decodes a string (RFC 7541 §5.2) into latin1. Undefined when it is no such string. */
export function decodeHuffman(bytes: Uint8Array): string | undefined {
  // The shortest code has five bits.
  const out = Buffer.allocUnsafe(Math.floor((bytes.length * 8) / 5));
  let length = 0;
  let node = 0;
  let pending = 0;
  let isOnes = true;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const one = (byte >>> bit) & 1;
      const next = TREE[2 * node + one]!;
      if (next >= 0) {
        node = next;
        pending += 1;
        isOnes &&= one === 1;
      } else {
        if (next === ~END_OF_STRING) return undefined;
        out[length++] = ~next;
        node = 0;
        pending = 0;
        isOnes = true;
      }
    }
  }
  return pending <= MAX_PADDING_BITS && isOnes ? out.toString("latin1", 0, length) : undefined;
}
