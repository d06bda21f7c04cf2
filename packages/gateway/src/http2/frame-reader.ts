import { ConnectionError, ErrorCode } from "./errors.ts";
import { FRAME_HEAD_BYTES, type Frame, MAX_FRAME_BYTES } from "./frames.ts";

/** What a client sends first (RFC 9113 §3.4). */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Cuts what a client sends into frames. */
export class FrameReader {
  #isPrefaceRead = false;
  #unread: Buffer | undefined;

  /**
   * The frames that `chunk` completes. Their payloads are parts of it.
   * @throws ConnectionError when it does not begin as HTTP/2 does, or a frame is longer than we said to take.
   */
  *read(chunk: Buffer): Generator<Frame> {
    const bytes = this.#unread === undefined ? chunk : Buffer.concat([this.#unread, chunk]);
    this.#unread = undefined;
    let at = 0;
    if (!this.#isPrefaceRead) {
      const begun = Math.min(bytes.length, PREFACE.length);
      if (bytes.compare(PREFACE, 0, begun, 0, begun) !== 0)
        throw new ConnectionError(ErrorCode.protocol, "it does not begin with the preface of HTTP/2");
      if (begun === PREFACE.length) {
        this.#isPrefaceRead = true;
        at = begun;
      }
    }
    while (this.#isPrefaceRead && bytes.length - at >= FRAME_HEAD_BYTES) {
      const length = bytes.readUIntBE(at, 3);
      if (length > MAX_FRAME_BYTES) throw new ConnectionError(ErrorCode.frameSize, `a frame of ${length} bytes`);
      const end = at + FRAME_HEAD_BYTES + length;
      if (end > bytes.length) break;
      yield {
        type: bytes[at + 3]!,
        flags: bytes[at + 4]!,
        streamId: bytes.readUInt32BE(at + 5) & 0x7fff_ffff,
        payload: bytes.subarray(at + FRAME_HEAD_BYTES, end),
      };
      at = end;
    }
    if (at < bytes.length) this.#unread = bytes.subarray(at);
  }
}
