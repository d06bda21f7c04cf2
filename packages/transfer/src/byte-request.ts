import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { ContentError, isContentError } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import type { ByteAgent } from "./byte-agent.ts";
import { ByteHeader, kindOf, PROTOCOL_VERSION } from "./byte-protocol.ts";
import { readShortText } from "./response-body.ts";
import { injectTrace } from "./trace-context.ts";

/** The parts of a client that every request needs. */
export interface ByteConnection {
  /** site/process, for messages. */
  readonly node: string;
  readonly origin: URL;
  readonly agent: ByteAgent;
  readonly timers: Timers;
  /** Milliseconds to wait for an answer's headers once the request is sent. */
  readonly answerTimeoutMs: number;
}

/** One request of the byte protocol. */
export interface ByteRequest {
  readonly method: "GET" | "HEAD" | "PATCH";
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly signal?: AbortSignal;
  /** Sends the body; the answer may come before it is done. Absent: no body. */
  readonly send?: (request: ClientRequest) => Promise<void>;
}

/**
 * Sends a request and resolves with the answer's headers; its body is unread.
 * @throws ContentError `unavailable` when the node cannot be reached or does not answer in time, the signal's reason.
 */
export async function sendByteRequest(connection: ByteConnection, request: ByteRequest): Promise<IncomingMessage> {
  for (let again = false; ; again = true) {
    const outcome = await exchange(connection, request);
    if (!("stale" in outcome)) return outcome.response;
    // The node closed an idle connection just as it was used: nothing was answered, so asking once more is safe.
    if (again) throw unreachable(connection, outcome.stale);
  }
}

/** Resolves when the answer is a success; throws the ContentError that it stands for otherwise. */
export async function requireSuccess(connection: ByteConnection, response: IncomingMessage): Promise<void> {
  const status = response.statusCode ?? 0;
  if (response.headers[ByteHeader.protocol] !== PROTOCOL_VERSION) {
    response.destroy();
    throw new ContentError("unavailable", `${connection.node} answered ${status} in another protocol`);
  }
  if (status >= 200 && status < 300) return;
  const kind = kindOf(String(response.headers[ByteHeader.error] ?? ""));
  const text = await readShortText(response).catch(() => "");
  throw new ContentError(kind, `${connection.node}: ${text || `status ${status}`}`);
}

type Outcome = { readonly response: IncomingMessage } | { readonly stale: Error };

function exchange(connection: ByteConnection, { method, path, headers, signal, send }: ByteRequest): Promise<Outcome> {
  if (signal?.aborted) return Promise.reject(signal.reason);
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
  const outgoing = { ...headers, [ByteHeader.protocol]: PROTOCOL_VERSION };
  injectTrace(outgoing);
  const request = (connection.agent.secure ? httpsRequest : httpRequest)({
    agent: connection.agent.current(),
    host: connection.origin.hostname.replace(/^\[|\]$/g, ""),
    port: connection.origin.port,
    method,
    path,
    headers: outgoing,
  });
  const fail = (error: unknown): void => {
    settled();
    reject(error);
    request.destroy();
  };
  const onAbort = (): void => fail(signal?.reason);
  let over = false;
  let deadline: Disposable | undefined;
  const startDeadline = (): void => {
    if (over) return;
    deadline = connection.timers.after(connection.answerTimeoutMs, () =>
      fail(
        new ContentError("unavailable", `${connection.node} did not answer within ${connection.answerTimeoutMs} ms`),
      ),
    );
  };
  const settled = (): void => {
    over = true;
    deadline?.[Symbol.dispose]();
    signal?.removeEventListener("abort", onAbort);
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  request.on("response", (response) => {
    settled();
    // A body that breaks off is noticed by whoever reads it; nobody listening must not end the process.
    response.on("error", () => {});
    resolve({ response });
  });
  request.on("error", (error: Error & { code?: string }) => {
    settled();
    const stale = request.reusedSocket && send === undefined && (error.code === "ECONNRESET" || error.code === "EPIPE");
    if (stale) resolve({ stale: error });
    else reject(isContentError(error) ? error : unreachable(connection, error));
  });
  if (send === undefined) {
    startDeadline();
    request.end();
  } else {
    send(request).then(startDeadline, fail);
  }
  return promise;
}

function unreachable(connection: ByteConnection, cause: Error): ContentError {
  return new ContentError("unavailable", `${connection.node} cannot be reached: ${cause.message}`, { cause });
}
