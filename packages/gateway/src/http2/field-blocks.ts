import { ConnectionError, ErrorCode } from "./errors.ts";
import { Flag, type Frame } from "./frames.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { type RequestFields, readRequest } from "./request-fields.ts";

/** A whole field block. */
export interface FieldBlock {
  readonly streamId: number;
  readonly endsStream: boolean;
  /** A string when it is no request that can be served: the fields are more than is taken, or malformed. */
  readonly request: RequestFields | "too large" | "malformed";
}

/** Beyond the first frame of a block. */
const MAX_CONTINUATIONS = 16;
/** Blocks are remembered by their bytes: clients send the same again and again. */
const REMEMBERED = 16;
const MAX_REMEMBERED_BYTES = 2_048;
const PRIORITY_BYTES = 5;

/** Puts the field blocks of a connection together and reads them. */
export class FieldBlocks {
  readonly #maxBytes: number;
  readonly #decoder: HpackDecoder;
  #known = new Map<string, FieldBlock["request"]>();
  #knownVersion = 0;
  #open: { streamId: number; endsStream: boolean; parts: Buffer[]; bytes: number } | undefined;

  /** `maxBytes`: of a block, encoded, and of its fields as SETTINGS_MAX_HEADER_LIST_SIZE counts. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#decoder = new HpackDecoder({ maxListBytes: maxBytes });
  }

  /** The stream whose block is not whole yet: nothing but its continuation may come (RFC 9113 §6.10). */
  get openId(): number | undefined {
    return this.#open?.streamId;
  }

  /** Takes a HEADERS frame; gives the block when it is whole. @throws ConnectionError when it is broken. */
  begin({ flags, streamId, payload }: Frame): FieldBlock | undefined {
    let fragment = unpadded(payload, flags);
    if ((flags & Flag.priority) !== 0) {
      if (fragment.length < PRIORITY_BYTES) throw new ConnectionError(ErrorCode.frameSize, "a priority is cut off");
      requireOther(fragment, streamId);
      fragment = fragment.subarray(PRIORITY_BYTES);
    }
    this.#open = { streamId, endsStream: (flags & Flag.endStream) !== 0, parts: [], bytes: 0 };
    return this.#add(fragment, flags);
  }

  /** Takes a CONTINUATION frame. */
  go({ flags, payload }: Frame): FieldBlock | undefined {
    return this.#add(payload, flags);
  }

  #add(fragment: Buffer, flags: number): FieldBlock | undefined {
    const open = this.#open!;
    open.parts.push(fragment);
    open.bytes += fragment.length;
    if (open.bytes > this.#maxBytes || open.parts.length > MAX_CONTINUATIONS + 1)
      throw new ConnectionError(ErrorCode.enhanceYourCalm, "a field block without end");
    if ((flags & Flag.endHeaders) === 0) return undefined;
    this.#open = undefined;
    const block = open.parts.length === 1 ? fragment : Buffer.concat(open.parts);
    return { streamId: open.streamId, endsStream: open.endsStream, request: this.#read(block) };
  }

  #read(block: Buffer): FieldBlock["request"] {
    const key = block.length <= MAX_REMEMBERED_BYTES ? block.toString("latin1") : undefined;
    const before = key === undefined ? undefined : this.#known.get(key);
    if (before !== undefined) return before;
    const fields = this.#decoder.decode(block);
    const request = fields === undefined ? "too large" : (readRequest(fields) ?? "malformed");
    if (this.#decoder.version !== this.#knownVersion) {
      // The table is another one: what came before, and this block itself, would mean something else now.
      this.#known = new Map();
      this.#knownVersion = this.#decoder.version;
    } else if (key !== undefined) {
      if (this.#known.size >= REMEMBERED) this.#known.clear();
      this.#known.set(key, request);
    }
    return request;
  }
}

/** The payload of a DATA or HEADERS frame without its padding (RFC 9113 §6.1). */
export function unpadded(payload: Buffer, flags: number): Buffer {
  if ((flags & Flag.padded) === 0) return payload;
  const padding = payload[0];
  if (padding === undefined || padding >= payload.length)
    throw new ConnectionError(ErrorCode.protocol, "more padding than payload");
  return payload.subarray(1, payload.length - padding);
}

/** @throws ConnectionError for a stream that depends on itself (RFC 7540 §5.3.1). */
export function requireOther(priority: Buffer, streamId: number): void {
  if ((priority.readUInt32BE(0) & 0x7fff_ffff) === streamId)
    throw new ConnectionError(ErrorCode.protocol, "a stream depends on itself");
}
