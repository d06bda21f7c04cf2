import { ContentError } from "@meridian/oci";
import type { ByteExchange } from "./byte-exchange.ts";
import { ByteHeader, parseBytes } from "./byte-protocol.ts";
import { watchProgress } from "./progress-watch.ts";

const UPLOAD_ID = /^[A-Za-z0-9_-]{1,128}$/;

/** `PATCH /v1/uploads/<id>`: appends the body; answers 204 with the acknowledged offset once it is synced. */
export async function serveAppend(exchange: ByteExchange, id: string): Promise<void> {
  const { request, response, node, signal } = exchange;
  if (!UPLOAD_ID.test(id)) throw new ContentError("invalid", "not an upload id");
  const offset = parseBytes(ByteHeader.offset, request.headers[ByteHeader.offset]);
  const final = request.headers[ByteHeader.final] === "true";
  const acknowledged = await node.append(id, requestBody(exchange), { offset, final, owned: true, signal });
  response.statusCode = 204;
  response.setHeader(ByteHeader.offset, acknowledged.offset);
  response.end();
}

/** The body, until it ends or brings nothing for `bodyIdleMs`. Leaving it early leaves the connection open for the answer. */
async function* requestBody({ request, clock, timers, bodyIdleMs }: ByteExchange): AsyncGenerator<Uint8Array> {
  const idle = Promise.withResolvers<never>();
  idle.promise.catch(() => {});
  const onIdle = (): void =>
    idle.reject(new ContentError("unavailable", `the body brought nothing for ${bodyIdleMs} ms`));
  using watch = watchProgress({ clock, timers, idleMs: bodyIdleMs, onIdle });
  const chunks = request.iterator({ destroyOnReturn: false });
  for (;;) {
    watch.resume();
    const next = await Promise.race([chunks.next(), idle.promise]);
    watch.pause();
    if (next.done) break;
    yield next.value as Uint8Array;
  }
  if (!request.complete) throw new ContentError("unavailable", "the body broke off");
}
