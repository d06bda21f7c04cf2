import type { OrderedReader } from "@meridian/keyvalue";
import { decodeRegisterRow, REGISTERS } from "./view-layout.ts";

/** One register of a view, as every view that has folded the same logs holds it. */
export interface RegisterState {
  /** The view's name of it, see keys.ts. */
  readonly key: string;
  /** The canonical record: equal registers are equal bytes. */
  readonly record: Uint8Array;
  /** Whether its put is alive. */
  readonly live: boolean;
}

/** The registers of a view in the order of their keys: `from` is inclusive, `to` exclusive, either may be absent. */
export function* registersOf(
  reader: OrderedReader,
  { from = REGISTERS.start, to = REGISTERS.end, limit }: { from?: string; to?: string; limit?: number } = {},
): Iterable<RegisterState> {
  const range = { start: from, end: to, ...(limit !== undefined && { limit }) };
  for (const [key, row] of reader.range(range)) {
    const { record, live } = decodeRegisterRow(row);
    yield { key, record, live };
  }
}
