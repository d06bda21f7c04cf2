import type { Clock } from "@meridian/runtime";
import type { HeaderList } from "../exchange.ts";
import { Flag, FRAME_HEAD_BYTES, FrameType, MAX_FRAME_BYTES, putFrameHead } from "./frames.ts";
import { type EncodedFields, encodeField, encodeFields, encodeStatus } from "./hpack-encoder.ts";

const STATUS_BYTES = new Map<number, Buffer>();

/** Writes the heads of answers over HTTP/2, for all connections of a server: none depends on what was sent before. */
export class AnswerFields {
  readonly #clock: Clock;
  /** A frozen list never changes: what it becomes on the wire is made once. */
  readonly #made = new WeakMap<HeaderList, EncodedFields>();
  #second = Number.NaN;
  #date: Buffer = Buffer.alloc(0);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * The frames of a head. `bodyBytes` becomes the length where the list has none and the status allows a body;
   * undefined: none. `prefix` stands before the fields.
   * @throws TypeError when a value holds a character that no field value may hold.
   */
  frames(
    streamId: number,
    status: number,
    headers: HeaderList,
    options: { readonly bodyBytes: number | undefined; readonly isLast: boolean; readonly prefix?: Buffer },
  ): Buffer {
    const { bytes, hasLength } = Object.isFrozen(headers) ? this.#kept(headers) : encodeFields(headers);
    const { bodyBytes, isLast, prefix } = options;
    const isBodyless = status === 204 || status === 304 || status < 200;
    const length =
      hasLength || isBodyless || bodyBytes === undefined ? undefined : encodeField("content-length", String(bodyBytes));
    const parts = [statusBytes(status), bytes];
    if (status >= 200) parts.push(this.#dateField());
    if (length !== undefined) parts.push(length);
    if (prefix !== undefined) parts.unshift(prefix);
    return headFrames(streamId, parts, isLast ? Flag.endStream : 0);
  }

  #kept(headers: HeaderList): EncodedFields {
    let fields = this.#made.get(headers);
    if (fields === undefined) {
      fields = encodeFields(headers);
      this.#made.set(headers, fields);
    }
    return fields;
  }

  #dateField(): Buffer {
    const now = this.#clock.now();
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#date = encodeField("date", new Date(now).toUTCString());
    }
    return this.#date;
  }
}

function statusBytes(status: number): Buffer {
  let bytes = STATUS_BYTES.get(status);
  if (bytes === undefined) {
    bytes = encodeStatus(status);
    STATUS_BYTES.set(status, bytes);
  }
  return bytes;
}

/** HEADERS, and CONTINUATION for what does not fit. */
function headFrames(streamId: number, parts: readonly Buffer[], flags: number): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const frames = Buffer.allocUnsafe(FRAME_HEAD_BYTES + length);
  let at = FRAME_HEAD_BYTES;
  for (const part of parts) {
    frames.set(part, at);
    at += part.length;
  }
  if (length <= MAX_FRAME_BYTES) {
    putFrameHead(frames, 0, length, FrameType.headers, flags | Flag.endHeaders, streamId);
    return frames;
  }
  const pieces: Buffer[] = [];
  for (let from = FRAME_HEAD_BYTES; from < frames.length; from += MAX_FRAME_BYTES) {
    const piece = frames.subarray(from, from + MAX_FRAME_BYTES);
    const head = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
    const isFirst = from === FRAME_HEAD_BYTES;
    const ends = from + MAX_FRAME_BYTES >= frames.length ? Flag.endHeaders : 0;
    const type = isFirst ? FrameType.headers : FrameType.continuation;
    putFrameHead(head, 0, piece.length, type, (isFirst ? flags : 0) | ends, streamId);
    pieces.push(head, piece);
  }
  return Buffer.concat(pieces);
}
