import type { Clock } from "@meridian/runtime";
import { ClientSettings } from "./client-settings.ts";
import { ConnectionError, ErrorCode } from "./errors.ts";
import { type FieldBlock, FieldBlocks, requireOther, unpadded } from "./field-blocks.ts";
import { FloodGuard } from "./flood-guard.ts";
import { Flag, type Frame, FrameType, frameOf, MAX_WINDOW } from "./frames.ts";
import type { Http2Connection } from "./http2-connection.ts";
import type { Http2Stream } from "./http2-stream.ts";

/** What a connection takes of its client, frame by frame. */
export class IncomingFrames {
  readonly settings = new ClientSettings();
  /** The highest stream that the client has begun. */
  lastId = 0;
  readonly #connection: Http2Connection;
  readonly #blocks: FieldBlocks;
  readonly #flood: FloodGuard;
  /** Streams that we ended before the client did: the rest of their bodies may be under way. */
  readonly #ended = new Set<number>();
  #isSettingsRead = false;

  constructor(connection: Http2Connection, options: { readonly clock: Clock; readonly maxHeaderBytes: number }) {
    this.#connection = connection;
    this.#blocks = new FieldBlocks(options.maxHeaderBytes);
    this.#flood = new FloodGuard(options.clock);
  }

  /** The stream was ended here while the client still sends on it. */
  expectRest(streamId: number): void {
    this.#ended.add(streamId);
    if (this.#ended.size <= MAX_ENDED) return;
    for (const oldest of this.#ended) {
      this.#ended.delete(oldest);
      return;
    }
  }

  /** @throws ConnectionError when the connection can not go on. */
  take(frame: Frame): void {
    const { type, streamId } = frame;
    if (this.#blocks.openId !== undefined && (type !== FrameType.continuation || streamId !== this.#blocks.openId))
      throw protocol("a field block is interrupted");
    if (!this.#isSettingsRead && (type !== FrameType.settings || (frame.flags & Flag.ack) !== 0))
      throw protocol("the settings do not come first");
    const isOfConnection = OF_CONNECTION.has(type);
    if (type !== FrameType.windowUpdate && type <= FrameType.continuation && isOfConnection !== (streamId === 0))
      throw protocol(`a frame of type ${type} for stream ${streamId}`);
    this.#handlers[type]?.(frame);
    if (type > FrameType.continuation) this.#flood.count();
  }

  readonly #handlers: Readonly<Record<number, (frame: Frame) => void>> = {
    [FrameType.data]: (frame) => this.#data(frame),
    [FrameType.headers]: (frame) => this.#block(this.#blocks.begin(frame)),
    [FrameType.continuation]: (frame) => {
      if (this.#blocks.openId === undefined) throw protocol("a continuation of nothing");
      this.#block(this.#blocks.go(frame));
    },
    [FrameType.windowUpdate]: (frame) => this.#widen(frame),
    [FrameType.rstStream]: (frame) => this.#reset(frame),
    [FrameType.settings]: (frame) => this.#applySettings(frame),
    [FrameType.ping]: (frame) => this.#ping(frame),
    [FrameType.priority]: (frame) => this.#priority(frame),
    [FrameType.pushPromise]: () => {
      throw protocol("a client does not push");
    },
  };

  #priority(frame: Frame): void {
    requireLength(frame, 5);
    requireOther(frame.payload, frame.streamId);
    this.#flood.count();
  }

  #block(block: FieldBlock | undefined): void {
    if (block === undefined) return;
    const { streamId, endsStream, request } = block;
    const { outgoing, streams } = this.#connection;
    if (streamId <= this.lastId) {
      const stream = streams.get(streamId);
      if (stream !== undefined) this.#trailers(stream, endsStream);
      else if (!this.#ended.has(streamId))
        throw new ConnectionError(ErrorCode.streamClosed, `stream ${streamId} cannot begin any more`);
      return;
    }
    if (streamId % 2 === 0) throw protocol(`stream ${streamId} is not the client's to begin`);
    this.lastId = streamId;
    if (request === "too large") {
      outgoing.head(streamId, 431, ["content-length", "0"], { bodyBytes: undefined, isLast: true });
      if (!endsStream) this.#refuse(streamId, ErrorCode.none);
    } else if (request === "malformed" || (endsStream && (request.contentLength ?? 0) > 0)) {
      this.#flood.count();
      this.#refuse(streamId, ErrorCode.protocol);
    } else this.#connection.request(streamId, request, !endsStream);
  }

  /** Ends a stream that nobody has seen. */
  #refuse(streamId: number, code: ErrorCode): void {
    this.expectRest(streamId);
    this.#connection.outgoing.reset(streamId, code);
  }

  /** They say nothing to us. */
  #trailers(stream: Http2Stream, endsStream: boolean): void {
    if (stream.incoming === undefined || stream.incoming.isWhole) stream.reset(ErrorCode.streamClosed);
    else if (!endsStream || !stream.incoming.end()) stream.reset(ErrorCode.protocol);
  }

  #data({ flags, streamId, payload }: Frame): void {
    const { window, outgoing, streams } = this.#connection;
    if (streamId > this.lastId) throw protocol("a body without a head");
    if (!window.take(payload.length)) throw new ConnectionError(ErrorCode.flowControl, "more than the window holds");
    const data = unpadded(payload, flags);
    const endsStream = (flags & Flag.endStream) !== 0;
    if (data.length === 0 && !endsStream) this.#flood.count();
    const stream = streams.get(streamId);
    const incoming = stream?.incoming;
    if (stream === undefined || incoming === undefined || incoming.isWhole) {
      outgoing.widen(0, window.consumed(payload.length));
      if (stream !== undefined) stream.reset(ErrorCode.streamClosed);
      else if (!this.#ended.has(streamId)) {
        this.#flood.count();
        outgoing.reset(streamId, ErrorCode.streamClosed);
      }
      return;
    }
    if (!incoming.window.take(payload.length)) {
      outgoing.widen(0, window.consumed(payload.length));
      stream.reset(ErrorCode.flowControl);
      return;
    }
    this.#connection.consumed(stream, payload.length - data.length);
    const isWithin = data.length === 0 || incoming.push(data);
    if (!isWithin || (endsStream && !incoming.end())) stream.reset(ErrorCode.protocol);
  }

  #widen(frame: Frame): void {
    requireLength(frame, 4);
    const { streamId, payload } = frame;
    const { outgoing, streams } = this.#connection;
    const bytes = payload.readUInt32BE(0) & 0x7fff_ffff;
    if (streamId > this.lastId) throw protocol("a window of a stream that has not begun");
    if (streamId === 0) {
      if (bytes === 0) throw protocol("a window that grows by nothing");
      if (!outgoing.queue.widen(bytes)) throw new ConnectionError(ErrorCode.flowControl, "a window too large");
      return;
    }
    const stream = streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindow += bytes;
    if (bytes === 0) stream.reset(ErrorCode.protocol);
    else if (stream.sendWindow > MAX_WINDOW) stream.reset(ErrorCode.flowControl);
    else outgoing.queue.add(stream);
  }

  #reset(frame: Frame): void {
    requireLength(frame, 4);
    if (frame.streamId > this.lastId) throw protocol("the end of a stream that has not begun");
    this.#flood.count();
    this.#connection.streams.get(frame.streamId)?.lost();
  }

  #applySettings({ flags, payload }: Frame): void {
    this.#isSettingsRead = true;
    if ((flags & Flag.ack) !== 0) {
      if (payload.length > 0) throw new ConnectionError(ErrorCode.frameSize, "settings in their acknowledgement");
      return;
    }
    this.#flood.count();
    const { outgoing, streams } = this.#connection;
    const before = this.settings.initialWindow;
    this.settings.apply(payload);
    if (this.settings.isTableSmaller) outgoing.tellTable();
    for (const stream of streams.values()) {
      stream.sendWindow += this.settings.initialWindow - before;
      if (stream.sendWindow > MAX_WINDOW) throw new ConnectionError(ErrorCode.flowControl, "a window too large");
      outgoing.queue.add(stream);
    }
    outgoing.acknowledge(frameOf(FrameType.settings, Flag.ack, 0));
  }

  #ping(frame: Frame): void {
    requireLength(frame, 8);
    if ((frame.flags & Flag.ack) !== 0) return;
    this.#flood.count();
    this.#connection.outgoing.acknowledge(frameOf(FrameType.ping, Flag.ack, 0, frame.payload));
  }
}

/** Of streams that ended longer ago the client has heard. */
const MAX_ENDED = 1_000;
const OF_CONNECTION: ReadonlySet<number> = new Set([FrameType.settings, FrameType.ping, FrameType.goaway]);

function requireLength({ type, payload }: Frame, bytes: number): void {
  if (payload.length !== bytes)
    throw new ConnectionError(ErrorCode.frameSize, `a frame of type ${type} with ${payload.length} bytes`);
}

function protocol(message: string): ConnectionError {
  return new ConnectionError(ErrorCode.protocol, message);
}
