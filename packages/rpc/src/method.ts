import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import type { CallContext, CallOptions } from "./service.ts";

/** A method of an implementation without its message types; its kind says which of the two it is. */
export type UntypedMethod = (input: never, context: CallContext) => Promise<object> | AsyncIterable<object>;
/** An implementation without its message types. */
export type UntypedImpl = Readonly<Record<string, UntypedMethod>>;
/** A method of a client without its message types. */
export type UntypedCall = (input: never, options?: CallOptions) => Promise<Message> | AsyncIterable<Message>;

export type UnaryMethod = (request: Message, context: CallContext) => Promise<object>;
export type StreamMethod = (requests: AsyncIterable<Message>, context: CallContext) => AsyncIterable<object>;

/** The HTTP/2 path of a method: `/package.Service/Method`. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** The methods that rpc can carry. Throws for a client- or server-streaming method: protocols here have none. */
export function methodsOf(service: DescService): readonly DescMethod[] {
  for (const method of service.methods) {
    if (method.methodKind !== "unary" && method.methodKind !== "bidi_streaming") {
      throw new Error(`${pathOf(method)} is ${method.methodKind}; only unary and bidirectional methods are supported`);
    }
  }
  return service.methods;
}

/** A whole message of `schema` from what an implementation or caller gave: absent fields get their defaults. */
export function messageOf(schema: DescMessage, init: object): Message {
  return create(schema, init as never);
}

export function serializerOf(schema: DescMessage): (message: Message) => Buffer {
  return (message) => {
    const bytes = toBinary(schema, message);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

/** Parses to plain Uint8Array fields: slices of a Buffer would be Buffers, and compare unequal to what was sent. */
export function deserializerOf(schema: DescMessage): (bytes: Buffer) => Message {
  return (bytes) => fromBinary(schema, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
}
