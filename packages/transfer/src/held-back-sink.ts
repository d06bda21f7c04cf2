import { ContentError, type Digest, Digester, digestAlgorithm } from "@meridian/oci";
import type { ByteSink } from "@meridian/storage";

/** A sink that passes a whole blob on, but for its last piece until the hash is right. */
export interface HeldBackSink extends ByteSink {
  /** Checks the hash and passes the last piece on. @throws ContentError `digest-mismatch`: the last piece never leaves. */
  finish(): Promise<void>;
}

/** Bytes that are held back at the end of a blob that is verified while it is sent. */
export const HELD_BACK_BYTES = 256 * 1024;

/** Wraps a sink for a blob that is read from its first to its last byte. `size` is in bytes. */
export function holdBack(digest: Digest, size: number, sink: ByteSink): HeldBackSink {
  const digester = new Digester(digestAlgorithm(digest));
  const releasable = Math.max(0, size - HELD_BACK_BYTES);
  const tail = Buffer.alloc(Math.min(size, HELD_BACK_BYTES));
  let seen = 0;
  return {
    write: (chunk) => {
      if (seen + chunk.byteLength > size)
        throw new ContentError("digest-mismatch", `more than the ${size} bytes of ${digest}`);
      digester.update(chunk);
      const passed = Math.max(0, Math.min(chunk.byteLength, releasable - seen));
      tail.set(chunk.subarray(passed), Math.max(0, seen - releasable));
      seen += chunk.byteLength;
      return passed === 0 ? undefined : sink.write(chunk.subarray(0, passed));
    },
    async finish() {
      if (seen !== size || digester.current() !== digest) {
        throw new ContentError("digest-mismatch", `the bytes sent for ${digest} are not it`);
      }
      if (tail.byteLength > 0) await sink.write(tail);
    },
  };
}
