import type { DescMessage, DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { PeerIdentity } from "@meridian/runtime";

/** What a method of a service learns about the call beside its request. */
export interface CallContext {
  /** Aborts when the caller cancels, its deadline passes, or the server stops; a stream's also once it is over. */
  readonly signal: AbortSignal;
  /** Absent for a call inside the process. */
  readonly peer: PeerIdentity | undefined;
}

/** What a caller may set. */
export interface CallOptions {
  /** The deadline, from now, in milliseconds. Unary calls default to 5 000, streams to none. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

type Input<M> = M extends { input: infer I extends DescMessage } ? I : never;
type Output<M> = M extends { output: infer O extends DescMessage } ? O : never;
type Kind<M> = M extends { methodKind: infer K } ? K : never;

/** The methods of a generated service descriptor. */
export type MethodsOf<S extends DescService> =
  S extends GenService<infer M extends GenServiceMethods> ? M : Record<string, DescMethod>;

/** An implementation of a service: unary and bidirectional methods. Throws ContentError; the server interceptor maps it. */
export type ServiceImpl<S extends DescService> = {
  [K in keyof MethodsOf<S>]: Kind<MethodsOf<S>[K]> extends "bidi_streaming"
    ? (
        requests: AsyncIterable<MessageShape<Input<MethodsOf<S>[K]>>>,
        context: CallContext,
      ) => AsyncIterable<MessageInitShape<Output<MethodsOf<S>[K]>>>
    : (
        request: MessageShape<Input<MethodsOf<S>[K]>>,
        context: CallContext,
      ) => Promise<MessageInitShape<Output<MethodsOf<S>[K]>>>;
};

/** A caller of a service, remote or in process. Methods throw ContentError. */
export type ServiceClient<S extends DescService> = {
  [K in keyof MethodsOf<S>]: Kind<MethodsOf<S>[K]> extends "bidi_streaming"
    ? (
        requests: AsyncIterable<MessageInitShape<Input<MethodsOf<S>[K]>>>,
        options?: CallOptions,
      ) => AsyncIterable<MessageShape<Output<MethodsOf<S>[K]>>>
    : (
        request: MessageInitShape<Input<MethodsOf<S>[K]>>,
        options?: CallOptions,
      ) => Promise<MessageShape<Output<MethodsOf<S>[K]>>>;
};
