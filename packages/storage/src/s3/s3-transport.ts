import http, { type ClientRequest, type IncomingMessage } from "node:http";
import https, { type RequestOptions } from "node:https";

/** An answer that says "later" (5xx, 408, 429), before the client library turns it into words without a code. */
export class BusyAnswer extends Error {
  override readonly name = "BusyAnswer";
  readonly status: number;
  /** The S3 error code, as in "SlowDown"; absent when the answer has none. */
  readonly code: string | undefined;

  constructor(status: number, code: string | undefined) {
    super(`${status}${code === undefined ? "" : ` ${code}`}`);
    this.status = status;
    this.code = code;
  }
}

/** A request on whose connection nothing moved for too long. */
export class SilentConnection extends Error {
  override readonly name = "SilentConnection";
  readonly code = "ETIMEDOUT";
}

/** The part of `node:http` and `node:https` that the client library uses. */
export interface S3Transport {
  request(options: RequestOptions, onResponse: (response: IncomingMessage) => void): ClientRequest;
}

const MAX_ERROR_BYTES = 64 * 1024;

/** Requests that end when nothing moves for `idleMs`, and whose "later" answers become {@link BusyAnswer}s. */
export function createS3Transport({ secure, idleMs }: { secure: boolean; idleMs: number }): S3Transport {
  const plain: S3Transport = secure ? https : http;
  return {
    request(options, onResponse) {
      const request = plain.request(options, (response) => {
        if (!isBusy(response.statusCode ?? 0)) {
          onResponse(response);
          return;
        }
        readError(response).then(
          (code) => request.emit("error", new BusyAnswer(response.statusCode ?? 0, code)),
          (error: unknown) => request.emit("error", error),
        );
      });
      request.setTimeout(idleMs, () => request.destroy(new SilentConnection(`no answer for ${idleMs} ms`)));
      return request;
    },
  };
}

/** 501 and 507 do not pass by waiting. */
function isBusy(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 507);
}

/** Reads to the end, so that the connection can be used again. */
async function readError(response: IncomingMessage): Promise<string | undefined> {
  let text = "";
  for await (const chunk of response) if (text.length < MAX_ERROR_BYTES) text += String(chunk);
  return /<Code>([A-Za-z]{1,64})<\/Code>/.exec(text)?.[1];
}
