import { EventEmitter } from "node:events";

/** What happens to bytes that one site sends to another; all connections between the two share it. */
export interface LinkDirection {
  /** One-way delay in milliseconds. */
  delayMs: number;
  /** Undefined: no limit. */
  bytesPerSecond: number | undefined;
  /** What has been delivered so far. */
  readonly bytes: number;
  readonly isCut: boolean;
  /** Nothing passes from now on; sockets stay open unless `reset`. */
  cut(reset: boolean): void;
  heal(): void;
  count(bytes: number): void;
  /** Milliseconds to wait before `bytes` more may be delivered; takes them out of the budget. */
  reserve(bytes: number): number;
  /** Resolves once the direction is not cut. */
  open(): Promise<void>;
  /** Calls `listener` when connections are to be reset, until disposed. */
  onReset(listener: () => void): Disposable;
}

export function createLinkDirection(): LinkDirection {
  const events = new EventEmitter().setMaxListeners(0);
  let cut = false;
  let total = 0;
  let limit: number | undefined;
  // The moment (monotonic) until which the budget is spent.
  let spentUntil = 0;
  let delayMs = 0;
  return {
    get delayMs() {
      return delayMs;
    },
    set delayMs(value) {
      delayMs = value;
    },
    get bytesPerSecond() {
      return limit;
    },
    set bytesPerSecond(value) {
      limit = value;
      spentUntil = 0;
    },
    get bytes() {
      return total;
    },
    get isCut() {
      return cut;
    },
    cut(reset) {
      cut = true;
      if (reset) events.emit("reset");
    },
    heal() {
      cut = false;
      events.emit("heal");
    },
    count(bytes) {
      total += bytes;
    },
    reserve(bytes) {
      if (limit === undefined) return 0;
      const now = performance.now();
      spentUntil = Math.max(spentUntil, now) + (bytes / limit) * 1000;
      return spentUntil - now;
    },
    async open() {
      while (cut) await new Promise<void>((resolve) => events.once("heal", resolve));
    },
    onReset(listener) {
      events.on("reset", listener);
      return { [Symbol.dispose]: () => events.off("reset", listener) };
    },
  };
}
