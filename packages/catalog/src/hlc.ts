import { create } from "@bufbuild/protobuf";
import { ContentError } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";

/** A record may be this many milliseconds ahead of the clock before it is held, unless told otherwise. */
export const DEFAULT_MAX_SKEW_MS = 2_000;

const COUNTER_BITS = 16n;
/** How far ahead of its readings the clock reserves, in milliseconds: one write to disk covers all readings till then. */
const RESERVED_MS = 1_000;
/** A new block is reserved when less than this is left, in milliseconds. */
const MARGIN_MS = 250;

/** The first reading of this millisecond. */
export function hlcTime(ms: number): bigint {
  return BigInt(Math.trunc(ms)) << COUNTER_BITS;
}

/** The milliseconds since the Unix epoch in a reading's time. */
export function hlcMs(time: bigint): number {
  return Number(time >> COUNTER_BITS);
}

/** Orders readings by time, then site, then writer: negative when `a` is the earlier one. */
export function compareHlc(a: recordV1.Hlc, b: recordV1.Hlc): number {
  if (a.time !== b.time) {
    return a.time < b.time ? -1 : 1;
  }
  return compareNames(a.site, b.site) || compareNames(a.writer, b.writer);
}

/** The reading as a text that names it: `<time>/<site>/<writer>`, the time in hexadecimal. */
export function readingId({ time, site, writer }: recordV1.Hlc): string {
  return `${time.toString(16)}/${site}/${writer}`;
}

/** Orders names by their code points, as every member does whatever its locale. */
export function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Where the clock's high-water is kept: apart from the view, which may be dropped at any time. */
export interface HighWater {
  /** Undefined on the first start. */
  load(): bigint | undefined;
  /** Resolves once it survives a power loss. */
  persist(time: bigint): Promise<void>;
}

/** Stamps the writes of one process. */
export interface HlcClock extends AsyncDisposable {
  /**
   * Makes sure that the readings of the next moments, all after `after`, are covered by the high-water on disk.
   * @throws ContentError `unavailable` when readings would be more than the allowed skew ahead of the machine's clock.
   */
  prepare(after?: bigint): Promise<void>;
  /** A reading after every one given, observed and passed as `after`. Call {@link HlcClock.prepare} before. */
  next(after?: bigint): recordV1.Hlc;
  /** Takes note of a reading of another writer. */
  observe(time: bigint): void;
}

/**
 * A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): 48 bits of milliseconds and a 16-bit
 * counter that carries into them. After a restart it goes on above everything that it has ever given.
 */
export function createHlcClock(options: {
  clock: Clock;
  site: string;
  writer: string;
  highWater: HighWater;
  maxSkewMs?: number;
}): HlcClock {
  const { clock, site, writer, highWater, maxSkewMs = DEFAULT_MAX_SKEW_MS } = options;
  let reserved = highWater.load() ?? 0n;
  let last = reserved;
  let issued = false;
  let reserving: Promise<void> = Promise.resolve();

  const following = (after: bigint): bigint => {
    const physical = hlcTime(clock.now());
    return later(physical, later(last, after) + 1n);
  };
  const reserve = async (after: bigint): Promise<void> => {
    const from = following(after);
    if (hlcMs(from) + MARGIN_MS <= hlcMs(reserved)) {
      return;
    }
    const ordinary = hlcTime(clock.now() + RESERVED_MS);
    const least = from + hlcTime(2 * MARGIN_MS);
    // Counted from the machine's clock where that is enough: a process killed again and again must not run ahead.
    const upTo = later(ordinary, least);
    await highWater.persist(upTo);
    reserved = upTo;
  };
  return {
    async prepare(after = 0n) {
      const aheadMs = hlcMs(following(after)) - clock.now();
      if (aheadMs > maxSkewMs) {
        const message = `the clock of ${site}/${writer} is ${Math.round(aheadMs)} ms behind what it has written: set it right`;
        throw new ContentError("unavailable", message);
      }
      // One at a time: a later block must not be overwritten by an earlier one.
      const reservation = reserving.then(() => reserve(after));
      reserving = reservation.catch(() => {});
      await reservation;
    },
    next(after = 0n) {
      const time = following(after);
      if (time > reserved) {
        throw new ContentError("unavailable", "the clock moved on while a write was prepared: try again");
      }
      last = time;
      issued = true;
      return create(recordV1.HlcSchema, { time, site, writer });
    },
    observe(time) {
      if (time > last) {
        last = time;
      }
    },
    async [Symbol.asyncDispose]() {
      await reserving;
      if (issued) {
        await highWater.persist(last);
      }
    },
  };
}

function later(a: bigint, b: bigint): bigint {
  if (a > b) {
    return a;
  }
  return b;
}
