import type { DescService } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { ContentError, isContentError } from "@meridian/oci";
import { type CallOptions, createRpcChannel, type RpcChannel, type RpcServer, type ServiceClient } from "@meridian/rpc";
import {
  type Clock,
  createSystemClock,
  type IdentifyPeer,
  type Logger,
  type PeerIdentity,
  type Timers,
  type TlsSource,
} from "@meridian/runtime";
import type { Peers } from "./peers.ts";
import { ProcessHealth } from "./process-health.ts";
import { nodeName, type ProcessAddress, type Role, serviceName, type Topology } from "./topology.ts";

export interface PeersOptions {
  readonly topology: Topology;
  /** The server of this process: what is registered there is called without a network. */
  readonly rpc: Pick<RpcServer, "local">;
  /** Material for mutual TLS; plain HTTP/2 when absent, for tests and loopback. */
  readonly tls?: TlsSource;
  /** Reads a server's identity from its certificate; required with `tls`. */
  readonly identify?: IdentifyPeer;
  readonly log: Logger;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: the system's. */
  readonly timers?: Timers;
}

/**
 * Callers of every process in the topology: in process where this one has the service registered, else over a channel
 * that is opened at first use and kept. A server must prove the site and service that the topology gives its address.
 */
export function createPeers(options: PeersOptions): Peers {
  return new ConnectedPeers(options);
}

class ConnectedPeers implements Peers {
  readonly topology: Topology;
  readonly #options: PeersOptions;
  readonly #health: ProcessHealth;
  readonly #channels = new Map<string, RpcChannel>();
  readonly #clients = new Map<string, unknown>();
  #closed = false;

  constructor(options: PeersOptions) {
    this.topology = options.topology;
    this.#options = options;
    this.#health = new ProcessHealth(options.clock ?? createSystemClock());
  }

  processes(role: Role, site?: string): readonly ProcessAddress[] {
    const listed = this.topology.processes.filter(
      (address) => address.roles.includes(role) && (site === undefined || address.site === site),
    );
    return listed.sort((a, b) => this.#rank(a) - this.#rank(b));
  }

  process(site: string, process: string): ProcessAddress | undefined {
    return this.topology.processes.find((address) => address.site === site && address.process === process);
  }

  client<M extends GenServiceMethods>(service: GenService<M>, address: ProcessAddress): ServiceClient<GenService<M>> {
    const local = this.#isOwn(address) ? this.#options.rpc.local(service) : undefined;
    if (local !== undefined) return local;
    const key = `${channelName(address)} ${service.typeName}`;
    let client = this.#clients.get(key) as ServiceClient<GenService<M>> | undefined;
    if (client === undefined) {
      client = this.#watched(service, this.#channel(address).client(service), address);
      this.#clients.set(key, client);
    }
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    const channels = [...this.#channels.values()];
    this.#channels.clear();
    this.#clients.clear();
    await Promise.all(channels.map((channel) => channel[Symbol.asyncDispose]()));
  }

  /** This process, then the rest of the living, then those that failed lately. */
  #rank(address: ProcessAddress): number {
    if (this.#isOwn(address)) return 0;
    return this.#health.believedAlive(address) ? 1 : 2;
  }

  #isOwn({ site, process }: ProcessAddress): boolean {
    return site === this.topology.site && process === this.topology.process;
  }

  #channel(address: ProcessAddress): RpcChannel {
    if (this.#closed) throw new ContentError("unavailable", "connections to peers are closed");
    const name = channelName(address);
    let channel = this.#channels.get(name);
    if (channel === undefined) {
      channel = createRpcChannel({ ...this.#options, address: address.grpc, expect: (peer) => isAt(address, peer) });
      this.#channels.set(name, channel);
      this.#options.log.debug("opened a channel", { peer: name, address: address.grpc });
    }
    return channel;
  }

  /** The client, with the outcome of its calls remembered. */
  #watched<C>(service: DescService, client: C, address: ProcessAddress): C {
    const watched: Record<string, unknown> = {};
    for (const method of service.methods) {
      const call = (client as Record<string, (...args: unknown[]) => unknown>)[method.localName];
      if (call === undefined) continue;
      watched[method.localName] =
        method.methodKind === "unary"
          ? (...args: unknown[]) => this.#observe(call(...args) as Promise<unknown>, address)
          : (...args: unknown[]) =>
              this.#observeAll(call(...args) as AsyncIterable<unknown>, address, args[1] as CallOptions | undefined);
    }
    return watched as C;
  }

  async #observe<T>(answer: Promise<T>, address: ProcessAddress): Promise<T> {
    try {
      const message = await answer;
      this.#health.reached(address);
      return message;
    } catch (error) {
      if (isContentError(error, "unavailable")) this.#health.unreachable(address);
      throw error;
    }
  }

  async *#observeAll<T>(
    answers: AsyncIterable<T>,
    address: ProcessAddress,
    options: CallOptions | undefined,
  ): AsyncGenerator<T, void> {
    try {
      for await (const message of answers) {
        this.#health.reached(address);
        yield message;
      }
    } catch (error) {
      // Not when it was this side that left.
      const left = options?.signal?.aborted ?? false;
      if (!left && isContentError(error, "unavailable")) this.#health.unreachable(address);
      throw error;
    }
  }
}

/** A process that the topology gives another address, or other roles, is another one. */
function channelName(address: ProcessAddress): string {
  return `${nodeName(address)} ${serviceName(address)} ${address.grpc}`;
}

/** The server at an address must be of the site and service that the topology gives it. */
function isAt(address: ProcessAddress, peer: PeerIdentity): boolean {
  return peer.site === address.site && peer.service === serviceName(address);
}
