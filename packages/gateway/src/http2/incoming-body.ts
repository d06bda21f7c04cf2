import { type BodyLimits, brokenOff, stalled } from "../request-body.ts";
import { ReceiveWindow, STREAM_WINDOW } from "./receive-window.ts";

/** The body of a request while it arrives. */
export class IncomingBody {
  readonly window = new ReceiveWindow(STREAM_WINDOW);
  readonly #consumed: (bytes: number) => void;
  readonly #length: number | undefined;
  #received = 0;
  readonly #chunks: Buffer[] = [];
  #isWhole = false;
  #failure: Error | undefined;
  #isDiscarded = false;
  #wake: (() => void) | undefined;

  /** `consumed`: so many bytes are not in memory any more. `length`: as the request declares it. */
  constructor(consumed: (bytes: number) => void, length: number | undefined) {
    this.#consumed = consumed;
    this.#length = length;
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** False when it is more than was declared. */
  push(chunk: Buffer): boolean {
    this.#received += chunk.length;
    this.#keep(chunk);
    return this.#length === undefined || this.#received <= this.#length;
  }

  #keep(chunk: Buffer): void {
    if (this.#isDiscarded) {
      this.#consumed(chunk.length);
      return;
    }
    this.#chunks.push(chunk);
    this.#wake?.();
  }

  /** False when it is less than was declared. */
  end(): boolean {
    if (this.#length !== undefined && this.#received !== this.#length) return false;
    this.#isWhole = true;
    this.#wake?.();
    return true;
  }

  fail(error: Error): void {
    if (this.#isWhole) return;
    this.#failure ??= error;
    this.#wake?.();
  }

  /** Nobody reads what is left. */
  discard(): void {
    this.#isDiscarded = true;
    for (const chunk of this.#chunks.splice(0)) this.#consumed(chunk.length);
  }

  /** @throws Refusal when the client stalls or breaks off. */
  async *read(limits: BodyLimits): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        const { length } = chunk;
        try {
          yield chunk;
        } finally {
          this.#consumed(length);
        }
      } else if (this.#isWhole) return;
      else if (this.#failure !== undefined) throw brokenOff(this.#failure);
      else await this.#more(limits);
    }
  }

  #more({ idleMs, timers }: BodyLimits): Promise<void> {
    return new Promise((resolve, reject) => {
      const idle = timers.after(idleMs, () => {
        this.#wake = undefined;
        reject(stalled(idleMs));
      });
      this.#wake = () => {
        this.#wake = undefined;
        idle[Symbol.dispose]();
        resolve();
      };
    });
  }
}
