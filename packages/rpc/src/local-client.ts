import type { DescMethod, DescService, Message } from "@bufbuild/protobuf";
import { ContentError } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import { openCallScope, orAborted, untilAborted } from "./call-scope.ts";
import { DEFAULT_UNARY_TIMEOUT_MS } from "./limits.ts";
import {
  messageOf,
  methodsOf,
  pathOf,
  type StreamMethod,
  type UnaryMethod,
  type UntypedCall,
  type UntypedImpl,
} from "./method.ts";
import type { CallOptions } from "./service.ts";

/** What {@link createLocalClient} needs. */
export interface LocalClientOptions {
  readonly service: DescService;
  readonly impl: UntypedImpl;
  readonly timers: Timers;
  readonly log: Logger;
}

/**
 * Calls an implementation of this process directly: no serialisation and no copy, but the same deadlines, cancellation
 * and errors as a remote call. A message passed whole is passed on by reference: neither side may change it afterwards.
 */
export function createLocalClient(options: LocalClientOptions): Readonly<Record<string, UntypedCall>> {
  const calls = methodsOf(options.service).map((method) => [method.localName, localCall(method, options)] as const);
  return Object.fromEntries(calls);
}

function localCall(method: DescMethod, { impl, timers, log }: LocalClientOptions): UntypedCall {
  const where = pathOf(method);
  const fail = (error: unknown, signal: AbortSignal): unknown => {
    if (signal.aborted || error instanceof ContentError) return error;
    log.error("rpc implementation failed", { method: where, error });
    return new ContentError("unavailable", `${where}: internal error`, { cause: error });
  };

  async function unary(init: object, callOptions: CallOptions = {}): Promise<Message> {
    const timeoutMs = callOptions.timeoutMs ?? DEFAULT_UNARY_TIMEOUT_MS;
    using scope = openCallScope({ where, timers, timeoutMs, signal: callOptions.signal });
    scope.signal.throwIfAborted();
    const run = impl[method.localName] as unknown as UnaryMethod;
    try {
      const started = run(messageOf(method.input, init), { signal: scope.signal, peer: undefined });
      return messageOf(method.output, await orAborted(started, scope.signal));
    } catch (error) {
      throw scope.signal.aborted ? scope.signal.reason : fail(error, scope.signal);
    }
  }

  async function* stream(inits: AsyncIterable<object>, callOptions: CallOptions = {}): AsyncGenerator<Message, void> {
    using scope = openCallScope({ where, timers, ...callOptions });
    const run = impl[method.localName] as unknown as StreamMethod;
    const requests = untilAborted(messagesOf(method, inits), scope.signal);
    try {
      const responses = run(requests, { signal: scope.signal, peer: undefined });
      for await (const init of untilAborted(responses, scope.signal)) yield messageOf(method.output, init);
    } catch (error) {
      throw scope.signal.aborted ? scope.signal.reason : fail(error, scope.signal);
    } finally {
      // Frees whichever side still waits for the other: the caller's requests, or an implementation that was left.
      scope.abort(new ContentError("unavailable", `${where}: the call is over`));
      requests.return().then(undefined, () => {});
    }
  }

  return (method.methodKind === "unary" ? unary : stream) as UntypedCall;
}

function messagesOf(method: DescMethod, inits: AsyncIterable<object>): AsyncIterable<Message> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = inits[Symbol.asyncIterator]();
      return {
        async next() {
          const next = await iterator.next();
          return next.done
            ? { done: true, value: undefined }
            : { done: false, value: messageOf(method.input, next.value) };
        },
        return: async () => {
          await iterator.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
