import { clientKey, createExemption, type LimitStore, type LimitsConfig, limitRefused } from "@meridian/limits";
import type { Principal } from "@meridian/policy";
import type { Timers } from "@meridian/runtime";
import type { ClientOrigin } from "./client-origin.ts";
import type { Exchange } from "./exchange.ts";
import { busy } from "./refusal.ts";

/** An upload and who sends it. */
export interface CountedUpload {
  readonly exchange: Exchange;
  readonly principal: Principal;
  readonly id: string;
}

/**
 * How many uploads one user may have under way at a site. An upload counts from its begin until it is committed or
 * cancelled, or until nothing was sent to it for `leaseMs`; then it can still be resumed, and counts again.
 */
export interface UploadLimit {
  /** Runs `work` while the upload counts, however long it takes. @throws Refusal when it would be one too many. */
  during<T>(upload: CountedUpload, work: () => Promise<T>): Promise<T>;
  /** The upload no longer counts. */
  done(upload: CountedUpload): void;
}

const RETRY_AFTER_SECONDS = 5;

export function createUploadLimit(options: {
  readonly limits: LimitsConfig;
  readonly store: LimitStore;
  readonly clients: ClientOrigin;
  readonly timers: Timers;
}): UploadLimit {
  const { limits, store, clients, timers } = options;
  const { perIdentity, leaseMs } = limits.uploads;
  const terms = { max: perIdentity, ttlMs: leaseMs };
  const isExempt = createExemption(limits.exempt);
  const isCounted = ({ exchange }: CountedUpload): boolean => !isExempt(clients.address(exchange));
  const holderOf = ({ exchange, principal }: CountedUpload): string =>
    principal.name === undefined ? `address\0${clientKey(clients.address(exchange))}` : `identity\0${principal.name}`;

  return {
    async during(upload, work) {
      if (!isCounted(upload)) return await work();
      const holder = holderOf(upload);
      if (!(await store.takeLease(holder, upload.id, terms))) {
        limitRefused("uploads");
        throw busy(
          upload.exchange,
          `${perIdentity} uploads of this user are under way: finish or cancel some`,
          RETRY_AFTER_SECONDS,
        );
      }
      using _kept = timers.every(leaseMs / 3, () => void store.takeLease(holder, upload.id, terms));
      return await work();
    },
    done(upload) {
      if (isCounted(upload)) void store.releaseLease(holderOf(upload), upload.id);
    },
  };
}
