import type { Digest } from "@meridian/oci";
import { type Logger, lazyInstruments } from "@meridian/runtime";
import { siteOf } from "./holders.ts";

const instruments = lazyInstruments("@meridian/blob-node", (meter) => ({
  fetches: meter.createCounter("meridian.blob.fetches", {
    description: "Blobs fetched from other nodes, by outcome.",
  }),
  fetchedBytes: meter.createCounter("meridian.blob.fetched", {
    unit: "By",
    description: "Bytes that came from other nodes.",
  }),
  replaced: meter.createCounter("meridian.blob.sources_replaced", {
    description: "Holders given up in mid-fetch.",
  }),
  quarantined: meter.createCounter("meridian.blob.replicas_quarantined", {
    description: "Replicas that sent wrong bytes.",
  }),
  damaged: meter.createCounter("meridian.blob.copies_damaged", {
    description: "Stored copies that were found missing, unreadable or wrong, by what was wrong.",
  }),
  replacedCopies: meter.createCounter("meridian.blob.copies_replaced", {
    description: "Damaged copies that were replaced by right ones.",
  }),
  scrubbedBytes: meter.createCounter("meridian.blob.scrubbed", {
    unit: "By",
    description: "Bytes hashed in scrub passes that came to their end.",
  }),
  uploads: meter.createCounter("meridian.blob.uploads", { description: "Uploads committed, by outcome." }),
}));

/** The business events of a blob node: a log line and a counter each. */
export interface BlobNodeEvents {
  fetched(digest: Digest, size: number, received: number, sources: readonly string[]): void;
  fetchFailed(digest: Digest, error: unknown): void;
  bytesFrom(holder: string, bytes: number): void;
  sourceReplaced(digest: Digest, holder: string, error: unknown): void;
  replicaQuarantined(digest: Digest, holder: string): void;
  mixedBytesWrong(digest: Digest, sources: readonly string[]): void;
  uploadCommitted(digest: Digest, size: number): void;
  uploadRefused(digest: Digest, error: unknown): void;
  standingChanged(draining: boolean): void;
  /** A stored copy was moved aside. */
  copyDamaged(digest: Digest, problem: string): void;
  /** Records say that it is here, and it is not. */
  copyMissing(digest: Digest): void;
  copyReplaced(digest: Digest): void;
  scrubbed(pass: { readonly blobs: number; readonly bytes: number; readonly damaged: number }): void;
}

/** Events are written to this logger and to the process's meter provider. */
export function createBlobNodeEvents(log: Logger): BlobNodeEvents {
  const { fetches, fetchedBytes, replaced, quarantined, damaged, replacedCopies, scrubbedBytes, uploads } =
    instruments();
  return {
    fetched(digest, size, received, sources) {
      fetches.add(1, { outcome: "stored" });
      log.info("blob fetched", { digest, size, received, sources });
    },
    fetchFailed(digest, error) {
      fetches.add(1, { outcome: "failed" });
      log.warn("blob could not be fetched", { digest, error });
    },
    bytesFrom(holder, bytes) {
      fetchedBytes.add(bytes, { site: siteOf(holder) });
    },
    sourceReplaced(digest, holder, error) {
      replaced.add(1, { site: siteOf(holder) });
      log.warn("holder given up", { digest, holder, error });
    },
    replicaQuarantined(digest, holder) {
      quarantined.add(1, { site: siteOf(holder) });
      log.error("replica sent wrong bytes and is quarantined", { digest, holder });
    },
    mixedBytesWrong(digest, sources) {
      log.warn("bytes put together from several sources are wrong; fetching again from one at a time", {
        digest,
        sources,
      });
    },
    uploadCommitted(digest, size) {
      uploads.add(1, { outcome: "stored" });
      log.debug("upload committed", { digest, size });
    },
    standingChanged(draining) {
      log.info(draining ? "this node is being drained: it takes no new bytes" : "this node takes bytes again");
    },
    uploadRefused(digest, error) {
      uploads.add(1, { outcome: "refused" });
      log.info("upload refused", { digest, error });
    },
    copyDamaged(digest, problem) {
      damaged.add(1, { problem });
      log.error("a stored copy is damaged and is in quarantine now", { digest, problem });
    },
    copyMissing(digest) {
      damaged.add(1, { problem: "missing" });
      log.error("a stored copy is missing", { digest });
    },
    copyReplaced(digest) {
      replacedCopies.add(1);
      log.info("a damaged copy was replaced by a right one", { digest });
    },
    scrubbed({ blobs, bytes, damaged: found }) {
      scrubbedBytes.add(bytes);
      log.info("scrub pass finished", { blobs, bytes, damaged: found });
    },
  };
}
