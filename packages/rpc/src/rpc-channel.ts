import type { DescMethod, Message } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { ContentError } from "@meridian/oci";
import {
  type IdentifyPeer,
  type Logger,
  type PeerIdentity,
  systemTimers,
  type Timers,
  type TlsSource,
} from "@meridian/runtime";
import { openCallScope } from "./call-scope.ts";
import { CHANNEL_OPTIONS, DEFAULT_UNARY_TIMEOUT_MS } from "./limits.ts";
import { deserializerOf, messageOf, methodsOf, pathOf, serializerOf, type UntypedCall } from "./method.ts";
import { sendAll } from "./send-all.ts";
import type { CallOptions, ServiceClient } from "./service.ts";
import { errorOf } from "./status.ts";
import { MutualTlsChannelCredentials } from "./tls-credentials.ts";
import { startClientSpan } from "./trace-context.ts";

/** What {@link createRpcChannel} needs. */
export interface RpcChannelOptions {
  /** `host:port`; an IPv6 host in brackets. */
  readonly address: string;
  /** Mutual TLS 1.3; plain HTTP/2 when absent, for tests and loopback. */
  readonly tls?: TlsSource;
  /** Reads the server's identity; required with `tls`. */
  readonly identify?: IdentifyPeer;
  /** Whether the server is the one wanted; any identity of the trust domain when absent. */
  readonly expect?: (peer: PeerIdentity) => boolean;
  readonly log: Logger;
  readonly timers?: Timers;
}

/**
 * A connection to one process, opened by the first call, kept open, opened again after a loss. Disposing it fails the
 * calls in flight with `unavailable`.
 */
export interface RpcChannel extends AsyncDisposable {
  /** A caller of one of the services there. Calls fail at once with `unavailable` while no connection can be made. */
  client<M extends GenServiceMethods>(service: GenService<M>): ServiceClient<GenService<M>>;
}

/**
 * A gRPC channel to one address. The server's certificate must be signed by the trust bundle and its URI must pass
 * `identify` and `expect`, else calls throw ContentError `denied`; host names are not looked at.
 */
export function createRpcChannel(options: RpcChannelOptions): RpcChannel {
  const verifier = createVerifier(options);
  const channelCredentials =
    options.tls === undefined
      ? credentials.createInsecure()
      : new MutualTlsChannelCredentials(options.tls, verifier.verify);
  const remote: Remote = {
    client: new Client(options.address, channelCredentials, CHANNEL_OPTIONS),
    address: options.address,
    timers: options.timers ?? systemTimers,
    refusal: verifier.refusal,
    active: new Set(),
  };
  return {
    client(service) {
      const calls = methodsOf(service).map((method) => [method.localName, remoteCall(method, remote)] as const);
      return Object.fromEntries(calls) as unknown as ServiceClient<typeof service>;
    },
    async [Symbol.asyncDispose]() {
      for (const call of remote.active) call.cancel();
      remote.client.close();
    },
  };
}

interface Remote {
  readonly client: Client;
  readonly address: string;
  readonly timers: Timers;
  /** Why the server was refused when it was last connected to. */
  readonly refusal: () => ContentError | undefined;
  /** Calls in flight, to be cancelled when the channel is disposed. */
  readonly active: Set<{ cancel(): void }>;
}

function createVerifier({ address, tls, identify, expect, log }: RpcChannelOptions) {
  if (tls !== undefined && identify === undefined) throw new TypeError("a channel with tls needs identify");
  let refusal: ContentError | undefined;
  const refuse = (error: unknown): never => {
    refusal =
      error instanceof ContentError
        ? error
        : new ContentError("denied", `${address}: unreadable certificate`, { cause: error });
    log.warn("refused a server by its identity", { address, error: refusal });
    throw refusal;
  };
  return {
    refusal: () => refusal,
    verify(certificate: Uint8Array): void {
      let peer: PeerIdentity | undefined;
      try {
        peer = identify?.(certificate);
      } catch (error) {
        refuse(error);
      }
      if (peer !== undefined && expect !== undefined && !expect(peer)) {
        refuse(
          new ContentError("denied", `${address} is ${peer.site}/${peer.service}, which is not the peer wanted there`),
        );
      }
      refusal = undefined;
    },
  };
}

function remoteCall(method: DescMethod, remote: Remote): UntypedCall {
  const call = method.methodKind === "unary" ? unaryCall : streamCall;
  return call(method, remote) as UntypedCall;
}

function unaryCall(method: DescMethod, remote: Remote) {
  const path = pathOf(method);
  const serialize = serializerOf(method.input);
  const deserialize = deserializerOf(method.output);
  return (init: object, { timeoutMs = DEFAULT_UNARY_TIMEOUT_MS, signal }: CallOptions = {}): Promise<Message> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const request = messageOf(method.input, init);
      const metadata = new Metadata();
      const span = startClientSpan(path, metadata);
      const onAbort = (): void => call.cancel();
      const settle = (failure: ServiceError | null, response?: Message): void => {
        signal?.removeEventListener("abort", onAbort);
        remote.active.delete(call);
        const error = failure === null ? undefined : failureOf(failure, path, remote, signal, timeoutMs);
        span.end(error);
        if (error === undefined) resolve(response as Message);
        else reject(error);
      };
      const deadline = Date.now() + timeoutMs;
      const call = remote.client.makeUnaryRequest(
        path,
        serialize,
        deserialize,
        request,
        metadata,
        { deadline },
        settle,
      );
      remote.active.add(call);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
}

function streamCall(method: DescMethod, remote: Remote) {
  const path = pathOf(method);
  const serialize = serializerOf(method.input);
  const deserialize = deserializerOf(method.output);
  return async function* (inits: AsyncIterable<object>, options: CallOptions = {}): AsyncGenerator<Message, void> {
    using scope = openCallScope({ where: `${path} at ${remote.address}`, timers: remote.timers, ...options });
    scope.signal.throwIfAborted();
    const metadata = new Metadata();
    const span = startClientSpan(path, metadata);
    const call = remote.client.makeBidiStreamRequest(path, serialize, deserialize, metadata);
    const onAbort = (): void => call.cancel();
    scope.signal.addEventListener("abort", onAbort, { once: true });
    remote.active.add(call);
    // Failures reach the caller through the iteration below; without a listener an early one would end the process.
    call.on("error", () => {});
    const sent = sendRequests(inits, method, call, scope);
    let failure: unknown;
    try {
      for await (const response of call.iterator({ destroyOnReturn: false })) yield response as Message;
      await sent.failed();
    } catch (error) {
      failure = sent.error() ?? failureOf(error as ServiceError, path, remote, scope.signal);
      throw failure;
    } finally {
      remote.active.delete(call);
      scope.abort(new ContentError("unavailable", `${path}: the call is over`));
      span.end(failure);
    }
  };
}

/** Sends the caller's requests beside the reading of responses; an error of theirs cancels the call. */
function sendRequests(
  inits: AsyncIterable<object>,
  method: DescMethod,
  call: ClientDuplexStream<Message, Message>,
  scope: { readonly signal: AbortSignal; abort(reason: unknown): void },
) {
  let failure: { readonly error: unknown } | undefined;
  sendAll(inits, method.input, call, scope.signal).then(
    () => call.end(),
    (error: unknown) => {
      if (scope.signal.aborted) return;
      failure = { error };
      call.cancel();
    },
  );
  return {
    error: () => failure?.error,
    failed: async () => {
      if (failure !== undefined) throw failure.error;
    },
  };
}

function failureOf(
  failure: ServiceError,
  path: string,
  remote: Remote,
  signal: AbortSignal | undefined,
  timeoutMs?: number,
): unknown {
  if (signal?.aborted) return signal.reason;
  if (failure.code === status.UNAVAILABLE) {
    const refusal = remote.refusal();
    if (refusal !== undefined) return new ContentError(refusal.kind, refusal.message, { cause: failure });
  }
  const where = `${path} at ${remote.address}`;
  if (failure.code === status.DEADLINE_EXCEEDED && timeoutMs !== undefined) {
    return new ContentError("unavailable", `${where}: no answer within ${timeoutMs} ms`);
  }
  return failure.code === undefined
    ? new ContentError("unavailable", `${where}: ${failure.message}`, { cause: failure })
    : errorOf(failure, where);
}
