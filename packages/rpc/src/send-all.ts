import type { DescMessage, Message } from "@bufbuild/protobuf";
import { orAborted, untilAborted } from "./call-scope.ts";
import { messageOf } from "./method.ts";

/** The writing half of a gRPC stream. */
interface MessageSink {
  write(message: Message): boolean;
  once(event: "drain", listener: () => void): unknown;
}

/** Writes every item as a message of `schema`, waiting whenever the other end or the connection cannot take more. */
export async function sendAll(
  source: AsyncIterable<object>,
  schema: DescMessage,
  sink: MessageSink,
  signal: AbortSignal,
): Promise<void> {
  for await (const init of untilAborted(source, signal)) {
    if (!sink.write(messageOf(schema, init))) {
      await orAborted(new Promise<void>((resolve) => sink.once("drain", resolve)), signal);
    }
  }
}
