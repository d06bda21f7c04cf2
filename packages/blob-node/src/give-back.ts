/** Smaller chunks cost more to give back than to leave. */
const WORTH_IT_BYTES = 16 * 1024;

/**
 * Frees a chunk's memory now, where it has memory of its own. Left to the garbage collector the chunks of a large body
 * make it go through the whole heap for every 30 MB or so: a seventh of the CPU time of a push.
 */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  if (byteLength < WORTH_IT_BYTES || byteLength !== buffer.byteLength || !(buffer instanceof ArrayBuffer)) return;
  buffer.transfer(0);
}
