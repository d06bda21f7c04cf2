import { ConnectionError, ErrorCode } from "./errors.ts";
import { DEFAULT_WINDOW, MAX_FRAME_BYTES, MAX_WINDOW, Setting } from "./frames.ts";

const SETTING_BYTES = 6;
const MAX_MAX_FRAME_BYTES = 2 ** 24 - 1;
const DEFAULT_TABLE_BYTES = 4_096;

/** What a client wants of what we send (RFC 9113 §6.5). */
export class ClientSettings {
  initialWindow = DEFAULT_WINDOW;
  /** True when it keeps a smaller table than is usual, which it must be told that we do without (RFC 7541 §4.2). */
  isTableSmaller = false;

  /** Takes a frame's settings over. @throws ConnectionError for values that cannot be. */
  apply(payload: Buffer): void {
    if (payload.length % SETTING_BYTES !== 0) throw new ConnectionError(ErrorCode.frameSize, "settings are cut off");
    for (let at = 0; at < payload.length; at += SETTING_BYTES)
      this.#set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
  }

  #set(id: number, value: number): void {
    switch (id) {
      case Setting.headerTableSize:
        this.isTableSmaller ||= value < DEFAULT_TABLE_BYTES;
        break;
      case Setting.enablePush:
        if (value > 1) throw new ConnectionError(ErrorCode.protocol, "push is neither on nor off");
        break;
      case Setting.initialWindowSize:
        if (value > MAX_WINDOW) throw new ConnectionError(ErrorCode.flowControl, "an initial window too large");
        this.initialWindow = value;
        break;
      case Setting.maxFrameSize:
        if (value < MAX_FRAME_BYTES || value > MAX_MAX_FRAME_BYTES)
          throw new ConnectionError(ErrorCode.protocol, "frames of a size that may not be");
        break;
    }
  }
}
