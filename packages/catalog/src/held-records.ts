import type { OrderedReader, OrderedTransaction } from "@meridian/keyvalue";
import type { recordV1 } from "@meridian/wire";
import { hlcTime } from "./hlc.ts";
import { encodeRecord } from "./merge.ts";
import { under } from "./view-layout.ts";

/** A record that waits for its time. */
export interface HeldRecord {
  readonly key: string;
  readonly time: bigint;
  /** Empty for one that another member answered with. */
  readonly stream: string;
  /** In the stream; 0 when `stream` is empty. */
  readonly sequence: number;
  /** In the log of the stream's origin. */
  readonly originSequence: number;
}

/** The record as its row: `h <time in hex> <stream> <sequence> <sequence at the origin> <view key>` → the record's bytes. */
export function holdRecord(
  tx: OrderedTransaction,
  held: Omit<HeldRecord, "key"> & { register: string; record: recordV1.Record },
): void {
  const time = held.time.toString(16).padStart(16, "0");
  tx.put(
    `h ${time} ${held.stream} ${held.sequence} ${held.originSequence} ${held.register}`,
    encodeRecord(held.record),
  );
}

/** All held records, the earliest first. There are few: they come from clocks that are wrong. */
export function heldRecords(reader: OrderedReader): HeldRecord[] {
  return Array.from(reader.range(under("h ")), ([key]) => {
    const [, time = "0", stream = "", sequence = "0", originSequence = "0"] = key.split(" ");
    return {
      key,
      time: BigInt(`0x${time}`),
      stream,
      sequence: Number(sequence),
      originSequence: Number(originSequence),
    };
  });
}

/** The latest time that a record may have now. */
export function horizon(nowMs: number, maxSkewMs: number): bigint {
  return hlcTime(nowMs + maxSkewMs + 1) - 1n;
}
