import type { IncomingHttpHeaders } from "node:http";
import { Agent, request } from "node:https";

/** One answer, as it came. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The body as JSON. @throws SyntaxError */
  json<T = Record<string, unknown>>(): T;
  /** `code` and `message` of the body's first error (distribution-spec, Error Codes). */
  readonly error: { readonly code: string; readonly message: string } | undefined;
}

export interface RawRequest {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer | string;
  /** Sends the body in chunks, without a Content-Length. */
  readonly chunked?: boolean;
}

/** Plain HTTP/1.1 requests to one gateway with exactly the given headers: no login, no retries, no redirects. */
export class RawHttp implements Disposable {
  readonly origin: string;
  readonly #agent: Agent;

  constructor(origin: string, ca: string) {
    this.origin = origin;
    this.#agent = new Agent({ keepAlive: true, ca });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  /** `target` is a path, or the absolute URL that an earlier answer named. */
  ask(method: string, target: string, { headers, body, chunked }: RawRequest = {}): Promise<RawAnswer> {
    return new Promise((done, failed) => {
      const length =
        body === undefined ? (method === "GET" || method === "HEAD" ? undefined : 0) : Buffer.byteLength(body);
      const outgoing = request(
        new URL(target, this.origin),
        {
          method,
          agent: this.#agent,
          timeout: 60_000,
          headers: {
            ...headers,
            ...(chunked
              ? { "transfer-encoding": "chunked" }
              : length === undefined
                ? {}
                : { "content-length": length }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", failed);
          response.on("end", () => done(rawAnswer(response.statusCode ?? 0, response.headers, Buffer.concat(chunks))));
        },
      );
      outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer to ${method} ${target}`)));
      outgoing.on("error", failed);
      if (!chunked || body === undefined) {
        outgoing.end(body);
        return;
      }
      const bytes = Buffer.from(body);
      for (let start = 0; start < bytes.length; start += 16_384) outgoing.write(bytes.subarray(start, start + 16_384));
      outgoing.end();
    });
  }
}

/** The parts of a `WWW-Authenticate: Bearer` challenge (RFC 6750 §3); empty for another scheme. */
export function bearerChallenge(answer: RawAnswer): Readonly<Record<string, string>> {
  const header = answer.headers["www-authenticate"] ?? "";
  if (!header.startsWith("Bearer ")) return {};
  return Object.fromEntries([...header.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, name, value]) => [name, value]));
}

/** An answer whose body was read whole. */
export function rawAnswer(status: number, headers: IncomingHttpHeaders, body: Buffer): RawAnswer {
  const json = <T>(): T => JSON.parse(body.toString()) as T;
  return {
    status,
    headers,
    body,
    json,
    get error() {
      try {
        return json<{ errors: Array<{ code: string; message: string }> }>().errors[0];
      } catch {
        return undefined;
      }
    },
  };
}
