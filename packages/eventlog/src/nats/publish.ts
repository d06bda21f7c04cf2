import { ContentError, isContentError } from "@meridian/oci";
import type { MsgHdrs } from "@nats-io/transport-node";
import { asContentError, refusal } from "./nats-error.ts";
import type { LiveConnection } from "./nats-link.ts";

interface Acknowledgement {
  readonly stream?: string;
  readonly seq?: number;
  readonly error?: { readonly err_code?: number; readonly description?: string };
}

/**
 * Publishes one message, once; the bytes are in the socket's buffer when this returns its promise. Resolves with the
 * sequence that JetStream acknowledged. Any failure but a refused expectation gives up the connection: what was sent
 * behind it must not be stored when this was not.
 * @throws ContentError `conflict` when an expectation failed, else `unavailable` or `no-space`.
 */
export async function publish(
  live: LiveConnection,
  message: { stream: string; subject: string; payload: Uint8Array; headers?: MsgHdrs },
): Promise<number> {
  live.lost.throwIfAborted();
  const { stream, subject, payload, headers } = message;
  try {
    const reply = await live.requests.request(subject, payload, headers);
    const ack = reply.json<Acknowledgement>();
    if (ack.error !== undefined) {
      throw refusal(ack.error.err_code ?? 0, ack.error.description ?? "no reason given");
    }
    if (ack.stream !== stream || typeof ack.seq !== "number") {
      throw new Error(`${subject} was stored by stream ${ack.stream}, not by ${stream}`);
    }
    return ack.seq;
  } catch (error) {
    if (isContentError(error, "conflict")) {
      throw error;
    }
    live.fail(error);
    throw error instanceof ContentError ? error : asContentError(error);
  }
}
