import type { HeaderList } from "../exchange.ts";
import { STATIC_TABLE } from "./static-table.ts";

/** Characters that may not stand in a field value (RFC 9110 §5.5). */
const FORBIDDEN = /[^\t\x20-\x7e\x80-\xff]/;
const CONTENT_LENGTH = "content-length";

const NAME_INDEX: ReadonlyMap<string, number> = new Map(
  STATIC_TABLE.map(([name], at): [string, number] => [name, at + 1]).reverse(),
);
const STATUS_INDEX: ReadonlyMap<number, number> = new Map(
  STATIC_TABLE.flatMap(
    ([name, value], at): Array<[number, number]> => (name === ":status" ? [[Number(value), at + 1]] : []),
  ),
);

/** Fields as they go on the wire. */
export interface EncodedFields {
  readonly bytes: Buffer;
  readonly hasLength: boolean;
}

/**
 * Fields of an answer, none of them entered in the peer's table: what is sent means the same whenever it is sent.
 * @throws TypeError when a value holds a character that no field value may hold.
 */
export function encodeFields(headers: HeaderList): EncodedFields {
  const parts: Buffer[] = [];
  let hasLength = false;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    const value = headers[i + 1]!;
    if (FORBIDDEN.test(value)) throw new TypeError(`the value of ${name} holds a character that it may not hold`);
    hasLength ||= name === CONTENT_LENGTH;
    parts.push(encodeField(name, value));
  }
  return { bytes: Buffer.concat(parts), hasLength };
}

/** Literal field without indexing (RFC 7541 §6.2.2). */
export function encodeField(name: string, value: string): Buffer {
  const index = NAME_INDEX.get(name);
  const head = index === undefined ? Buffer.concat([Buffer.of(0), encodeString(name)]) : encodeInteger(0, 4, index);
  return Buffer.concat([head, encodeString(value)]);
}

/** The field `:status`. */
export function encodeStatus(status: number): Buffer {
  const index = STATUS_INDEX.get(status);
  return index === undefined ? encodeField(":status", String(status)) : Buffer.of(0x80 | index);
}

/** Tells a peer that allows us a smaller table that we use none (RFC 7541 §6.3). */
export const NO_TABLE = Buffer.of(0x20);

function encodeString(text: string): Buffer {
  return Buffer.concat([encodeInteger(0, 7, text.length), Buffer.from(text, "latin1")]);
}

/** RFC 7541 §5.1. */
function encodeInteger(firstBits: number, prefixBits: number, value: number): Buffer {
  const mask = (1 << prefixBits) - 1;
  if (value < mask) return Buffer.of(firstBits | value);
  const bytes = [firstBits | mask];
  let rest = value - mask;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}
