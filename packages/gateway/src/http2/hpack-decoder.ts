import { ConnectionError, ErrorCode } from "./errors.ts";
import { decodeHuffman } from "./huffman.ts";
import { type Field, STATIC_TABLE } from "./static-table.ts";

/** SETTINGS_HEADER_TABLE_SIZE, which we leave at its default (RFC 9113 §6.5.2). */
const MAX_TABLE_BYTES = 4_096;
/** What a field counts for beside name and value (RFC 7541 §4.1). */
const FIELD_OVERHEAD = 32;
/** A length or index of more than this many bytes after its first is beyond everything that can be meant. */
const MAX_INTEGER_BYTES = 4;

/** Decodes the field blocks of one connection, in order (RFC 7541). */
export class HpackDecoder {
  readonly #maxListBytes: number;
  /** The newest first. */
  readonly #table: Field[] = [];
  #tableBytes = 0;
  #maxTableBytes = MAX_TABLE_BYTES;
  #block: Uint8Array = new Uint8Array();
  #at = 0;
  /** Grows with each change of the table: a block means the same as long as it does not. */
  version = 0;

  /** `maxListBytes`: as SETTINGS_MAX_HEADER_LIST_SIZE counts. */
  constructor({ maxListBytes }: { readonly maxListBytes: number }) {
    this.#maxListBytes = maxListBytes;
  }

  /**
   * The fields of a block; undefined when they are more than fits, as the table must follow even then.
   * @throws ConnectionError COMPRESSION_ERROR: what later blocks mean can not be known any more.
   */
  decode(block: Uint8Array): Field[] | undefined {
    this.#block = block;
    this.#at = 0;
    const fields: Field[] = [];
    let listBytes = 0;
    while (this.#at < block.length) {
      const field = this.#field(fields.length === 0 && listBytes === 0);
      if (field === undefined) continue;
      listBytes += sizeOf(field);
      if (listBytes <= this.#maxListBytes) fields.push(field);
    }
    return listBytes <= this.#maxListBytes ? fields : undefined;
  }

  /** The next field; undefined for a change of the table's size, which may stand only before the first. */
  #field(isFirst: boolean): Field | undefined {
    const first = this.#block[this.#at]!;
    if (first >= 0x80) return this.#indexed(this.#integer(7));
    if (first >= 0x40) return this.#insert(this.#literal(this.#integer(6)));
    if (first < 0x20) return this.#literal(this.#integer(4));
    const bytes = this.#integer(5);
    if (!isFirst || bytes > MAX_TABLE_BYTES) throw broken("a change of the table's size that may not be here");
    this.#maxTableBytes = bytes;
    this.version += 1;
    this.#evict(0);
    return undefined;
  }

  #indexed(index: number): Field {
    const field = index <= STATIC_TABLE.length ? STATIC_TABLE[index - 1] : this.#table[index - STATIC_TABLE.length - 1];
    if (field === undefined) throw broken("an index beyond the table");
    return field;
  }

  #literal(nameIndex: number): Field {
    const name = nameIndex === 0 ? this.#string() : this.#indexed(nameIndex)[0];
    return [name, this.#string()];
  }

  #insert(field: Field): Field {
    const bytes = sizeOf(field);
    this.version += 1;
    this.#evict(bytes);
    if (bytes > this.#maxTableBytes) return field;
    this.#table.unshift(field);
    this.#tableBytes += bytes;
    return field;
  }

  /** Makes room, or at least empties the table (RFC 7541 §4.4). */
  #evict(wantedBytes: number): void {
    while (this.#table.length > 0 && this.#tableBytes + wantedBytes > this.#maxTableBytes)
      this.#tableBytes -= sizeOf(this.#table.pop()!);
  }

  /** RFC 7541 §5.1. */
  #integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = this.#block[this.#at++]! & mask;
    if (value < mask) return value;
    for (let i = 0; i < MAX_INTEGER_BYTES; i++) {
      const byte = this.#block[this.#at++];
      if (byte === undefined) throw broken("it ends inside a number");
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw broken("a number that is too large");
  }

  /** RFC 7541 §5.2. */
  #string(): string {
    const isHuffman = (this.#block[this.#at] ?? 0) >= 0x80;
    if (this.#at >= this.#block.length) throw broken("it ends before a string");
    const length = this.#integer(7);
    const end = this.#at + length;
    if (end > this.#block.length) throw broken("it ends inside a string");
    const bytes = this.#block.subarray(this.#at, end);
    this.#at = end;
    if (!isHuffman) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
    const text = decodeHuffman(bytes);
    if (text === undefined) throw broken("a string that cannot be decoded");
    return text;
  }
}

function sizeOf([name, value]: Field): number {
  return name.length + value.length + FIELD_OVERHEAD;
}

function broken(what: string): ConnectionError {
  return new ConnectionError(ErrorCode.compression, `a field block is broken: ${what}`);
}
