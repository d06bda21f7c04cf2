import type { Socket } from "node:net";
import type { Clock } from "@meridian/runtime";

type Settle = (error: Error | undefined) => void;

/** Up to here it is cheaper to copy all parts into one buffer than to hand them over one by one. */
const COPIED_BYTES = 64 * 1024;

/** Gathers frames, so that the answers to all that came together leave together. */
export class FrameWriter {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #onTaken: () => void;
  #parts: Array<Uint8Array | string> = [];
  #bytes = 0;
  #settles: Settle[] = [];
  /** Those of the last write that is under way. */
  #underWaySettles: Settle[] = [];
  /** True while more is about to be pushed. */
  isHeld = false;
  #isScheduled = false;
  #underWay = 0;
  #progressAt = 0;

  /** `onTaken`: something has left this process. */
  constructor(socket: Socket, clock: Clock, onTaken: () => void) {
    this.#socket = socket;
    this.#clock = clock;
    this.#onTaken = onTaken;
  }

  /** Bytes that wait for the client to take them. */
  get waitingBytes(): number {
    return this.#bytes + this.#socket.writableLength;
  }

  /** Monotonic time since when the client has taken nothing of what waits for it; undefined when nothing does. */
  get waitingSince(): number | undefined {
    return this.#underWay > 0 ? this.#progressAt : undefined;
  }

  /** `part` is the writer's until `settle` is called; a string is latin1. */
  push(part: Uint8Array | string, settle?: Settle): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    if (settle !== undefined) this.#settles.push(settle);
    if (this.isHeld || this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (!this.isHeld) this.flush();
    });
  }

  /** Calls `settle` once nothing that was pushed so far is in use any more. */
  afterAll(settle: Settle): void {
    if (this.#bytes > 0) this.#settles.push(settle);
    else if (this.#underWay > 0) this.#underWaySettles.push(settle);
    else settle(undefined);
  }

  /** Runs `work`; what it pushes leaves when it is through. */
  gather(work: () => void): void {
    this.isHeld = true;
    try {
      work();
    } finally {
      this.isHeld = false;
      this.flush();
    }
  }

  flush(): void {
    if (this.#parts.length === 0) return;
    const [parts, bytes, settles, socket] = [this.#parts, this.#bytes, this.#settles, this.#socket];
    this.#parts = [];
    this.#bytes = 0;
    this.#settles = [];
    this.#underWaySettles = settles;
    if (this.#underWay++ === 0) this.#progressAt = this.#clock.monotonic();
    const taken = (error?: Error | null): void => {
      this.#underWay -= 1;
      this.#progressAt = this.#clock.monotonic();
      for (const settle of settles) settle(error ?? undefined);
      this.#onTaken();
    };
    if (parts.length === 1) socket.write(parts[0]!, "latin1", taken);
    else if (bytes <= COPIED_BYTES) socket.write(joined(parts, bytes), taken);
    else {
      socket.cork();
      for (const [at, part] of parts.entries())
        socket.write(part, "latin1", at === parts.length - 1 ? taken : undefined);
      socket.uncork();
    }
  }
}

function joined(parts: ReadonlyArray<Uint8Array | string>, bytes: number): Buffer {
  const all = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const part of parts) {
    if (typeof part === "string") all.write(part, at, "latin1");
    else all.set(part, at);
    at += part.length;
  }
  return all;
}
