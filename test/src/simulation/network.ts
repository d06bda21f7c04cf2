import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { ContentError } from "@meridian/oci";
import type { ServiceClient, ServiceImpl } from "@meridian/rpc";
import { linkV1 } from "@meridian/wire";
import type { Life, World } from "./world.ts";

type TailService = ServiceImpl<typeof linkV1.LogTailService>;
type TailClient = ServiceClient<typeof linkV1.LogTailService>;
type HeldService = ServiceImpl<typeof linkV1.HeldService>;
type HeldClient = ServiceClient<typeof linkV1.HeldService>;

/** What one site answers on the network at the moment; undefined while its process is down. */
export interface Listener {
  readonly life: Life;
  readonly service: TailService;
  readonly held: HeldService;
}

/** One direction between two sites: delays what passes, holds it back while it is cut. */
class Direction {
  cut = false;
  delayMs = 5;
  #held: (() => void)[] = [];
  #lastDue = 0;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** Delivers after the delay, in order, or when the cut is over. */
  deliver(run: () => void): void {
    // No message overtakes another when the delay becomes shorter: connections keep the order.
    this.#lastDue = Math.max(this.#lastDue, this.#world.now + this.delayMs);
    this.#world.after(this.#lastDue - this.#world.now, () => {
      if (this.cut) this.#held.push(run);
      else run();
    });
  }

  heal(): void {
    this.cut = false;
    for (const run of this.#held.splice(0)) this.deliver(run);
  }
}

/** Messages on their way, in order; what was not taken yet waits at the receiver. */
class Pipe<T> implements AsyncIterable<T> {
  readonly #receiver: () => Life | undefined;
  readonly #arrived: T[] = [];
  #over: { readonly error?: unknown } | undefined;
  #wake: () => void = () => {};

  /** What is on its way to a process that died never arrives. */
  constructor(receiver: () => Life | undefined) {
    this.#receiver = receiver;
  }

  push(value: T): void {
    if (this.#over !== undefined || this.#receiver()?.alive === false) return;
    this.#arrived.push(value);
    this.#wake();
  }

  /** Nothing comes any more; what arrived is still taken, unless it is an error. */
  end(over: { readonly error?: unknown }): void {
    if (this.#receiver()?.alive === false) return;
    if (over.error !== undefined) this.#arrived.length = 0;
    this.#over ??= over;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    for (;;) {
      while (this.#arrived.length > 0) yield this.#arrived.shift()!;
      if (this.#over?.error !== undefined) throw this.#over.error;
      if (this.#over !== undefined) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** The links between sites. Connections are streams that break when an end dies, and stand still while a link is cut. */
export class Network {
  readonly #world: World;
  readonly #directions = new Map<string, Direction>();
  readonly #listeners = new Map<string, Listener>();
  readonly #connections = new Set<Connection>();

  constructor(world: World, sites: readonly string[]) {
    this.#world = world;
    for (const from of sites) {
      for (const to of sites) if (from !== to) this.#directions.set(`${from} ${to}`, new Direction(world));
    }
  }

  /** Says who answers for a site from now on. */
  listen(site: string, listener: Listener | undefined): void {
    if (listener === undefined) this.#listeners.delete(site);
    else this.#listeners.set(site, listener);
  }

  direction(from: string, to: string): Direction {
    return this.#directions.get(`${from} ${to}`)!;
  }

  healAll(): void {
    for (const direction of this.#directions.values()) direction.heal();
  }

  /** Breaks every connection between two sites, as a proxy that restarts does. */
  reset(a: string, b: string): void {
    for (const connection of this.#connections) if (connection.joins(a, b)) connection.breaks();
  }

  /** A process died: its peers' connections break, unless the machine went silently. */
  died(site: string, { silently }: { silently: boolean }): void {
    this.listen(site, undefined);
    for (const connection of this.#connections) {
      if (!connection.endsAt(site)) continue;
      if (silently) this.#connections.delete(connection);
      else connection.breaks();
    }
  }

  /** A caller of another site's LogTail, for one life of a process. */
  client(from: string, to: string, life: Life): TailClient {
    const tail: TailClient["tail"] = (requests, options) => this.#tail({ from, to, life }, requests, options?.signal);
    return { tail };
  }

  /** A caller of another site's HeldService, likewise. Nothing comes back from a process that died, or while a link is cut. */
  heldClient(from: string, to: string, life: Life): HeldClient {
    const held: HeldClient["held"] = (request, { signal, timeoutMs = 5_000 } = {}) =>
      new Promise((resolve, reject) => {
        const done = (act: () => void): void => {
          if (life.alive) act();
        };
        const late = new ContentError("unavailable", `${to} did not answer ${from} in time`);
        life.after(timeoutMs, () => reject(late));
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
        this.direction(from, to).deliver(() => {
          const listener = this.#listeners.get(to);
          if (listener === undefined) return;
          const asked = create(linkV1.HeldRequestSchema, request);
          const back = this.direction(to, from);
          listener.held.held(asked, { signal: new AbortController().signal, peer: undefined }).then(
            (answer) => {
              const bytes = toBinary(linkV1.HeldResponseSchema, create(linkV1.HeldResponseSchema, answer));
              if (listener.life.alive)
                back.deliver(() => done(() => resolve(fromBinary(linkV1.HeldResponseSchema, bytes))));
            },
            (error: unknown) => {
              if (listener.life.alive) back.deliver(() => done(() => reject(error)));
            },
          );
        });
      });
    return { held };
  }

  #tail(
    { from, to, life }: { from: string; to: string; life: Life },
    requests: AsyncIterable<MessageInitShape<typeof linkV1.TailRequestSchema>>,
    signal: AbortSignal | undefined,
  ): AsyncIterable<linkV1.TailResponse> {
    const out = this.direction(from, to);
    const back = this.direction(to, from);
    let server: Life | undefined;
    const up = new Pipe<linkV1.TailRequest>(() => server);
    const down = new Pipe<linkV1.TailResponse>(() => life);
    const cancelled = new AbortController();
    const cancel = (reason: unknown): void => {
      if (server?.alive !== false) cancelled.abort(reason);
    };
    const broken = new ContentError("unavailable", `the connection from ${from} to ${to} broke`);
    const connection = new Connection(from, to, () => {
      back.deliver(() => down.end({ error: broken }));
      out.deliver(() => cancel(broken));
      this.#connections.delete(connection);
    });
    this.#connections.add(connection);
    signal?.addEventListener(
      "abort",
      () => {
        down.end({ error: signal.reason });
        out.deliver(() => cancel(signal.reason));
        this.#connections.delete(connection);
      },
      { once: true },
    );
    out.deliver(() => {
      const listener = this.#listeners.get(to);
      if (listener === undefined) {
        // The machine refuses, or does not answer at all.
        if (this.#world.chance(70)) connection.breaks();
        return;
      }
      server = listener.life;
      const responses = listener.service.tail(up, { signal: cancelled.signal, peer: undefined });
      void pump(responses, linkV1.TailResponseSchema, { via: back, into: down, life: listener.life });
    });
    void pump(requests, linkV1.TailRequestSchema, { via: out, into: up, life });
    return down;
  }
}

class Connection {
  readonly #ends: ReadonlySet<string>;
  readonly breaks: () => void;

  constructor(from: string, to: string, breaks: () => void) {
    this.#ends = new Set([from, to]);
    this.breaks = breaks;
  }

  endsAt(site: string): boolean {
    return this.#ends.has(site);
  }

  joins(a: string, b: string): boolean {
    return this.#ends.has(a) && this.#ends.has(b);
  }
}

/** Carries messages as bytes from a sender to the receiver's end of a pipe. */
async function pump<M extends DescMessage>(
  from: AsyncIterable<MessageInitShape<M>>,
  schema: M,
  { via, into, life }: { via: Direction; into: Pipe<MessageShape<M>>; life: Life },
): Promise<void> {
  try {
    for await (const message of from) {
      via.deliver(asBytes(schema, message, into));
      if (!life.alive) return;
    }
    via.deliver(() => into.end({}));
  } catch (error) {
    via.deliver(() => into.end({ error }));
  }
}

/** What the receiver gets is what the wire carries. */
function asBytes<M extends DescMessage>(
  schema: M,
  message: MessageInitShape<M>,
  into: Pipe<MessageShape<M>>,
): () => void {
  const sent = create(schema, message);
  // Most messages are heartbeats, all alike.
  if ((sent as Partial<linkV1.TailResponse>).message?.case === "heartbeat") return () => into.push(sent);
  const bytes = toBinary(schema, sent);
  return () => into.push(fromBinary(schema, bytes));
}
