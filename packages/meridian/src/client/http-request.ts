import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable } from "node:stream";

const MAX_BODY_BYTES = 16 * 1024 * 1024;

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

const IDLE_MS = 60_000;

/** One request whose body, and whose answer's body, may be of any length. @throws Error when the server cannot be reached. */
export function streamRequest(
  url: URL,
  options: {
    readonly method: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: Buffer | Readable;
    /** PEM; absent: the system's authorities. */
    readonly ca?: string;
  },
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { method, headers, body, ca } = options;
    const secure = url.protocol === "https:";
    const outgoing = (secure ? httpsRequest : httpRequest)(
      url,
      { method, headers: { ...headers }, timeout: IDLE_MS, ...(secure && ca !== undefined ? { ca } : {}) },
      resolve,
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error(`nothing was said for ${IDLE_MS} ms`)));
    outgoing.on("error", (error: NodeJS.ErrnoException) =>
      reject(new Error(`${url.origin} cannot be reached: ${error.code ?? error.message}`, { cause: error })),
    );
    if (body instanceof Readable) body.once("error", (error) => outgoing.destroy(error)).pipe(outgoing);
    else outgoing.end(body);
  });
}

/** One request; the answer's body is read whole (≤ 16 MiB). @throws Error when the server cannot be reached. */
export function sendRequest(
  url: URL,
  options: {
    readonly method?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
    /** PEM; absent: the system's authorities. */
    readonly ca?: string;
    readonly timeoutMs: number;
  },
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const secure = url.protocol === "https:";
    const outgoing = (secure ? httpsRequest : httpRequest)(
      url,
      {
        method: options.method ?? "GET",
        headers: { ...options.headers },
        timeout: options.timeoutMs,
        ...(secure && options.ca !== undefined ? { ca: options.ca } : {}),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_BODY_BYTES) outgoing.destroy(new Error("the answer is too large"));
          else chunks.push(chunk);
        });
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(chunks).toString("utf8"),
          }),
        );
        response.on("error", reject);
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer within ${options.timeoutMs} ms`)));
    outgoing.on("error", (error: NodeJS.ErrnoException) =>
      reject(new Error(`${url.origin} cannot be reached: ${error.code ?? error.message}`, { cause: error })),
    );
    outgoing.end(options.body);
  });
}
