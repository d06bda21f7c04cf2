import type { DescMethod, Message } from "@bufbuild/protobuf";
import type {
  handleBidiStreamingCall,
  handleUnaryCall,
  Metadata,
  ServerDuplexStream,
  ServerUnaryCall,
  StatusObject,
} from "@grpc/grpc-js";
import { ContentError } from "@meridian/oci";
import type { IdentifyPeer, Logger, PeerIdentity, TlsSource } from "@meridian/runtime";
import { context } from "@opentelemetry/api";
import { messageOf, pathOf, type StreamMethod, type UnaryMethod, type UntypedImpl } from "./method.ts";
import { sendAll } from "./send-all.ts";
import { statusOf } from "./status.ts";
import { inContext, startServerSpan } from "./trace-context.ts";

/** What {@link createCallHandlers} needs. */
export interface CallHandlersOptions {
  readonly impl: UntypedImpl;
  readonly allow?: (peer: PeerIdentity, method: string) => boolean;
  readonly tls?: TlsSource;
  readonly identify?: IdentifyPeer;
  readonly log: Logger;
  /** Aborts when the server stops; streams end then. */
  readonly stopping: AbortSignal;
}

type Handler = handleUnaryCall<Message, Message> | handleBidiStreamingCall<Message, Message>;
type Call = ServerUnaryCall<Message, Message> | ServerDuplexStream<Message, Message>;

/** The grpc-js handlers of an implementation: identity, permission, cancellation, spans and error mapping in one place. */
export function createCallHandlers(options: CallHandlersOptions): (method: DescMethod) => Handler {
  return (method) => (method.methodKind === "unary" ? unaryHandler(method, options) : streamHandler(method, options));
}

function unaryHandler(method: DescMethod, options: CallHandlersOptions): handleUnaryCall<Message, Message> {
  const path = pathOf(method);
  const run = options.impl[method.localName] as unknown as UnaryMethod;
  return (call, callback) => {
    const signal = cancellationOf(call);
    const span = startServerSpan(path, call.metadata);
    const answer = async (): Promise<Message> => {
      const peer = admit(call, method, options);
      const response = await context.with(span.context, () => run(call.request, { signal, peer }));
      return messageOf(method.output, response);
    };
    answer().then(
      (response) => {
        span.end();
        callback(null, response);
      },
      (error: unknown) => {
        span.end(error);
        callback(failure(error, path, signal, options.log));
      },
    );
  };
}

function streamHandler(method: DescMethod, options: CallHandlersOptions): handleBidiStreamingCall<Message, Message> {
  const path = pathOf(method);
  const run = options.impl[method.localName] as unknown as StreamMethod;
  return (call) => {
    const over = new AbortController();
    const signal = AbortSignal.any([cancellationOf(call), options.stopping, over.signal]);
    const span = startServerSpan(path, call.metadata);
    const answer = async (): Promise<void> => {
      const peer = admit(call, method, options);
      const responses = context.with(span.context, () => run(requestsOf(call, signal), { signal, peer }));
      await sendAll(inContext(span.context, responses), method.output, call, signal);
    };
    answer()
      .then(
        () => {
          span.end();
          call.end();
        },
        (error: unknown) => {
          span.end(error);
          call.emit("error", failure(error, path, signal, options.log));
        },
      )
      .finally(() => over.abort(new ContentError("unavailable", `${path}: the call is over`)));
  };
}

/** Aborts when the caller cancels, goes away, or its deadline passes. */
function cancellationOf(call: NodeJS.EventEmitter): AbortSignal {
  const controller = new AbortController();
  call.once("cancelled", () => controller.abort(new ContentError("unavailable", "the caller cancelled")));
  return controller.signal;
}

/** The caller's identity. Throws ContentError `denied` when it has none that may call this method. */
function admit(
  call: Call,
  method: DescMethod,
  { tls, identify, allow }: CallHandlersOptions,
): PeerIdentity | undefined {
  const peer = tls === undefined ? undefined : identityOf(call, identify);
  if (allow === undefined) return peer;
  if (peer === undefined) throw new ContentError("denied", `${pathOf(method)} needs a peer with an identity`);
  if (!allow(peer, method.localName)) {
    throw new ContentError("denied", `${peer.site}/${peer.service} may not call ${pathOf(method)}`);
  }
  return peer;
}

function identityOf(call: Call, identify: IdentifyPeer | undefined): PeerIdentity {
  const certificate = call.getAuthContext().sslPeerCertificate;
  if (certificate === undefined || identify === undefined) throw new ContentError("denied", "no client certificate");
  return identify(certificate.raw);
}

/** The caller's messages. Leaving the iteration does not end the call: the implementation may go on answering. */
async function* requestsOf(
  call: ServerDuplexStream<Message, Message>,
  signal: AbortSignal,
): AsyncGenerator<Message, void> {
  try {
    yield* call.iterator({ destroyOnReturn: false }) as AsyncIterable<Message>;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
}

function failure(error: unknown, path: string, signal: AbortSignal, log: Logger): StatusObject & Error {
  const known = error instanceof ContentError;
  // What an implementation throws because its caller left is no failure of the implementation.
  if (!known && !signal.aborted) log.error("rpc implementation failed", { method: path, error });
  const { code, details, metadata } = statusOf(signal.aborted && !known ? signal.reason : error);
  return Object.assign(new Error(details), { code, details, metadata: metadata as Metadata });
}
