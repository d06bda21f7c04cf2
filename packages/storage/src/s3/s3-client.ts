import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { Client, type ClientOptions } from "minio";
import type { S3Credentials, S3Place } from "./s3-settings.ts";
import { createS3Transport } from "./s3-transport.ts";

/** How the client connects. */
export interface S3ClientOptions {
  readonly place: S3Place;
  /** Asked before every request: files may have been renewed. */
  readonly credentials: () => Promise<S3Credentials>;
  /** A connection on which nothing moves for so long is given up, in milliseconds. */
  readonly idleMs: number;
}

/** The client library, set up so that waiting and trying again is the caller's. */
export interface S3Client extends Disposable {
  readonly client: Client;
}

/** Each slow reader keeps one. */
const MAX_CONNECTIONS = 1024;

/** Makes a client; connects to nothing yet. */
export function createS3Client({ place, credentials, idleMs }: S3ClientOptions): S3Client {
  const url = new URL(place.endpoint);
  const secure = url.protocol === "https:";
  const pooled = { keepAlive: true, maxSockets: MAX_CONNECTIONS, scheduling: "lifo" as const };
  const agent = secure ? new HttpsAgent({ ...pooled, ca: place.ca }) : new HttpAgent(pooled);
  const options: ClientOptions = {
    endPoint: url.hostname.replace(/^\[|\]$/g, ""),
    port: url.port === "" ? (secure ? 443 : 80) : Number(url.port),
    useSSL: secure,
    region: place.region,
    pathStyle: place.pathStyle ?? true,
    transport: createS3Transport({ secure, idleMs }) as ClientOptions["transport"],
    transportAgent: agent,
    retryOptions: { disableRetry: true },
    // The library wants its own class, but calls only this much of it.
    credentialsProvider: { getCredentials: async () => asLibraryCredentials(await credentials()) } as never,
  };
  return { client: new Client(options), [Symbol.dispose]: () => agent.destroy() };
}

function asLibraryCredentials({ accessKeyId, secretAccessKey, sessionToken }: S3Credentials): unknown {
  return {
    getAccessKey: () => accessKeyId,
    getSecretKey: () => secretAccessKey,
    getSessionToken: () => sessionToken,
  };
}
