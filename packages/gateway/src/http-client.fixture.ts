import { randomBytes } from "node:crypto";
import { type Agent, type IncomingHttpHeaders, request } from "node:http";
import { type Digest, digestOf, MediaType } from "@meridian/oci";
import { bearer, type TestSite } from "./test-cluster.fixture.ts";

/** An answer, read whole. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The body as JSON of the shape that the test expects. */
  json<T = Record<string, unknown>>(): T;
  /** The code of the first error in the body. */
  readonly code: string | undefined;
}

/** What to send. */
export interface Question {
  readonly headers?: Record<string, string>;
  readonly body?: Buffer | string;
  readonly agent?: Agent;
}

/** One request over a connection of its own, unless an agent is given. */
export function ask(
  base: string,
  method: string,
  path: string,
  { headers = {}, body, agent }: Question = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const url = new URL(base);
    const outgoing = request(
      { host: url.hostname, port: url.port, method, path, headers, agent: agent ?? false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => resolve(answerOf(response.statusCode!, response.headers, Buffer.concat(chunks))));
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

function answerOf(status: number, headers: IncomingHttpHeaders, body: Buffer): Answer {
  const json = <T>(): T => JSON.parse(body.toString());
  const isJson = headers["content-type"]?.includes("json") === true && body.length > 0;
  return {
    status,
    headers,
    body,
    json,
    code: isJson ? json<{ errors?: { code: string }[] }>().errors?.[0]?.code : undefined,
  };
}

const ADMIN_SCOPES = (name: string): string => `${name}:pull,push,delete`;

/** Requests by a principal who may do everything with one repository. */
export function adminOf(site: TestSite, name: string) {
  const auth = bearer("admin", ADMIN_SCOPES(name));
  const call = (method: string, path: string, question: Question = {}): Promise<Answer> =>
    ask(site.gateway.url, method, `/v2/${name}${path}`, { ...question, headers: { ...auth, ...question.headers } });
  return {
    call,
    get: (path: string, headers?: Record<string, string>) => call("GET", path, { headers }),
    head: (path: string, headers?: Record<string, string>) => call("HEAD", path, { headers }),
    delete: (path: string, headers?: Record<string, string>) => call("DELETE", path, { headers }),
    async pushBlob(content: Buffer): Promise<Digest> {
      const digest = digestOf(content);
      const pushed = await call("POST", `/blobs/uploads/?digest=${digest}`, { body: content });
      if (pushed.status !== 201) throw new Error(`push answered ${pushed.status} ${pushed.body}`);
      return digest;
    },
    putManifest: (
      reference: string,
      manifest: Buffer,
      headers?: Record<string, string>,
      type: string = MediaType.ociManifest,
    ) => call("PUT", `/manifests/${reference}`, { body: manifest, headers: { "content-type": type, ...headers } }),
    /** Pushes an image of one layer under a tag. */
    async pushImage(tag: string, layer: Buffer = randomBytes(1000), extra: Record<string, unknown> = {}) {
      const config = await this.pushBlob(Buffer.from("{}"));
      const layerDigest = await this.pushBlob(layer);
      const manifest = manifestOf(config, [{ digest: layerDigest, size: layer.length }], extra);
      const pushed = await this.putManifest(tag, manifest);
      return { pushed, manifest, digest: digestOf(manifest), config, layer: layerDigest };
    },
  };
}

/** An OCI image manifest in canonical form. */
export function manifestOf(
  config: Digest,
  layers: ReadonlyArray<{ digest: Digest; size: number }>,
  extra: Record<string, unknown> = {},
): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MediaType.ociManifest,
      config: { mediaType: MediaType.ociConfig, digest: config, size: 2 },
      layers: layers.map((layer) => ({ mediaType: MediaType.ociLayer, ...layer })),
      ...extra,
    }),
  );
}
