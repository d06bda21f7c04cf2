import type { DescMethod, DescService, Message } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { type handleBidiStreamingCall, type handleUnaryCall, Server, ServerCredentials } from "@grpc/grpc-js";
import { ContentError } from "@meridian/oci";
import {
  type IdentifyPeer,
  type Logger,
  type PeerIdentity,
  systemTimers,
  type Timers,
  type TlsSource,
} from "@meridian/runtime";
import { createCallHandlers } from "./call-handlers.ts";
import { createHealthService } from "./health-service.ts";
import { SERVER_OPTIONS } from "./limits.ts";
import { bind, tuneConnections } from "./listener.ts";
import { createLocalClient } from "./local-client.ts";
import { deserializerOf, methodsOf, pathOf, serializerOf, type UntypedImpl } from "./method.ts";
import type { ServiceClient, ServiceImpl } from "./service.ts";
import { MutualTlsServerCredentials } from "./tls-credentials.ts";

/** What {@link createRpcServer} needs. */
export interface RpcServerOptions {
  /** Mutual TLS 1.3; plain HTTP/2 without identities when absent, for tests and loopback. */
  readonly tls?: TlsSource;
  /** Reads a caller's identity from its certificate; required with `tls`. */
  readonly identify?: IdentifyPeer;
  readonly log: Logger;
  readonly timers?: Timers;
  /** How long a stop waits for unary calls in flight, in milliseconds. 5 000 when absent. */
  readonly drainTimeoutMs?: number;
}

/** How a service is offered. */
export interface RegisterOptions {
  /**
   * Whether a remote peer may call the method (its name as in the descriptor's `localName`); every authenticated peer
   * may when absent. A caller without identity is always refused. Calls inside the process are not asked.
   */
  readonly allow?: (peer: PeerIdentity, method: string) => boolean;
}

/** The gRPC services of one process, for peers and for the process itself. */
export interface RpcServer extends AsyncDisposable {
  /** Offers a service. Throws when it is offered already. */
  register<M extends GenServiceMethods>(
    service: GenService<M>,
    impl: ServiceImpl<GenService<M>>,
    options?: RegisterOptions,
  ): void;
  /** A caller of a service of this process that crosses no socket; undefined when it is not registered. */
  local<M extends GenServiceMethods>(service: GenService<M>): ServiceClient<GenService<M>> | undefined;
  /** Starts to accept connections; port 0 picks one. Rejects with an Error that names the address and why. */
  listen(address: { readonly host: string; readonly port: number }): Promise<{ readonly address: string }>;
  /** What grpc.health.v1.Health answers, for the process ("") and each service; false until told. */
  serving(value: boolean): void;
}

/**
 * A server that stops gracefully when disposed: not serving, no new connections, streams told to end (their callers see
 * `unavailable`), unary calls given `drainTimeoutMs`, then whatever is left cut.
 */
export function createRpcServer(options: RpcServerOptions): RpcServer {
  if (options.tls !== undefined && options.identify === undefined)
    throw new TypeError("a server with tls needs identify");
  const timers = options.timers ?? systemTimers;
  const server = new Server(SERVER_OPTIONS);
  const impls = new Map<string, UntypedImpl>();
  const locals = new Map<string, ReturnType<typeof createLocalClient>>();
  const health = createHealthService();
  const stopping = new AbortController();
  const tls = options.tls === undefined ? undefined : new MutualTlsServerCredentials(options.tls);
  server.addService(health.definition, health.handlers);

  return {
    register(service, impl, { allow } = {}) {
      if (impls.has(service.typeName)) throw new Error(`${service.typeName} is registered already`);
      const untyped = impl as unknown as UntypedImpl;
      impls.set(service.typeName, untyped);
      health.add(service.typeName);
      const handlers = createCallHandlers({ ...options, impl: untyped, allow, stopping: stopping.signal });
      addToServer(server, service, handlers);
    },
    local(service) {
      const impl = impls.get(service.typeName);
      if (impl === undefined) return undefined;
      const client = locals.get(service.typeName) ?? createLocalClient({ service, impl, timers, log: options.log });
      locals.set(service.typeName, client);
      return client as unknown as ServiceClient<typeof service>;
    },
    async listen({ host, port }) {
      const address = await bind(server, host, port, tls ?? ServerCredentials.createInsecure());
      tuneConnections(server, options.log);
      return { address };
    },
    serving: (value) => health.serving(value),
    async [Symbol.asyncDispose]() {
      health.stop();
      stopping.abort(new ContentError("unavailable", "the process is stopping"));
      await drain(server, timers, options.drainTimeoutMs ?? 5_000);
      tls?.[Symbol.dispose]();
    },
  };
}

function addToServer(
  server: Server,
  service: DescService,
  handlers: (method: DescMethod) => handleUnaryCall<Message, Message> | handleBidiStreamingCall<Message, Message>,
): void {
  for (const method of methodsOf(service)) {
    const type = method.methodKind === "unary" ? "unary" : "bidi";
    server.register(pathOf(method), handlers(method), serializerOf(method.output), deserializerOf(method.input), type);
  }
}

function drain(server: Server, timers: Timers, drainTimeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const deadline = timers.after(drainTimeoutMs, () => {
      server.forceShutdown();
      resolve();
    });
    server.tryShutdown(() => {
      deadline[Symbol.dispose]();
      resolve();
    });
  });
}
