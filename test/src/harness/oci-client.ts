import { createHash, randomBytes } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { Agent, request } from "node:https";

/** One answer with its body, or with its hash only when it was asked for that way. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly bytes: number;
  readonly digest: string;
}

/** An image made of random bytes. */
export interface TestImage {
  readonly config: Buffer;
  readonly layers: readonly Buffer[];
  readonly manifest: Buffer;
  readonly digest: string;
}

export const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** An image with layers of these sizes; every call gives another one. */
export function makeImage(...layerSizes: number[]): TestImage {
  const layers = layerSizes.map((size) => randomBytes(size));
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      created: new Date().toISOString(),
      seed: randomBytes(8).toString("hex"),
    }),
  );
  const descriptor = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: descriptor("application/vnd.oci.image.config.v1+json", config),
      layers: layers.map((layer) => descriptor("application/vnd.oci.image.layer.v1.tar", layer)),
    }),
  );
  return { config, layers, manifest, digest: digestOf(manifest) };
}

/** A plain client of the distribution API: one gateway, one user, tokens as the challenge says, no retries. */
export class OciClient implements Disposable {
  readonly server: string;
  readonly #ca: string;
  readonly #credentials: string;
  readonly #agent: Agent;
  readonly #tokens = new Map<string, string>();

  constructor(server: string, options: { ca: string; username?: string; password: string }) {
    this.server = server;
    this.#ca = options.ca;
    this.#credentials = `${options.username ?? "admin"}:${options.password}`;
    this.#agent = new Agent({ keepAlive: true, ca: options.ca, maxSockets: 64 });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  /** Sends a request, logging in when challenged. `discard`: hash the body instead of keeping it. */
  async call(
    path: string,
    options: {
      method?: string;
      headers?: Record<string, string>;
      body?: Buffer;
      discard?: boolean;
      timeoutMs?: number;
    } = {},
  ): Promise<Answer> {
    const scopeKey = path.split("/").slice(2, -2).join("/");
    let answer = await this.#send(path, options, this.#tokens.get(scopeKey));
    const challenge = answer.headers["www-authenticate"];
    if (answer.status === 401 && challenge !== undefined) {
      const token = await this.token(challenge);
      this.#tokens.set(scopeKey, token);
      answer = await this.#send(path, options, token);
    }
    return answer;
  }

  async token(challenge: string): Promise<string> {
    const part = (name: string): string => new RegExp(`${name}="([^"]*)"`).exec(challenge)?.[1] ?? "";
    const url = new URL(part("realm"));
    url.searchParams.set("service", part("service"));
    for (const scope of part("scope").split(" ").filter(Boolean)) url.searchParams.append("scope", scope);
    const answer = await this.#send(
      url.pathname + url.search,
      { headers: { authorization: `Basic ${Buffer.from(this.#credentials).toString("base64")}` } },
      undefined,
    );
    if (answer.status !== 200) throw new Error(`token: ${answer.status} ${answer.body.toString().slice(0, 300)}`);
    return (JSON.parse(answer.body.toString()) as { token: string }).token;
  }

  /** @throws Error unless every step is answered as it should be. */
  async push(repository: string, tag: string, image: TestImage): Promise<void> {
    for (const blob of [image.config, ...image.layers]) await this.pushBlob(repository, blob);
    const answer = await this.call(`/v2/${repository}/manifests/${tag}`, {
      method: "PUT",
      headers: { "content-type": MANIFEST_TYPE },
      body: image.manifest,
    });
    expectStatus(answer, 201, `PUT manifest ${repository}:${tag}`);
  }

  async pushBlob(repository: string, blob: Buffer): Promise<void> {
    const opened = await this.call(`/v2/${repository}/blobs/uploads/`, {
      method: "POST",
      headers: { "content-length": "0" },
    });
    expectStatus(opened, 202, "POST upload");
    const location = new URL(String(opened.headers.location), this.server);
    location.searchParams.set("digest", digestOf(blob));
    const done = await this.call(location.pathname + location.search, {
      method: "PUT",
      headers: { "content-type": "application/octet-stream" },
      body: blob,
    });
    expectStatus(done, 201, "PUT blob");
  }

  /** Pulls an image whole and checks every hash. @throws Error when anything is missing or wrong. */
  async pull(repository: string, reference: string): Promise<{ digest: string; servedBy: string | undefined }> {
    const manifest = await this.call(`/v2/${repository}/manifests/${reference}`, {
      headers: { accept: MANIFEST_TYPE },
    });
    expectStatus(manifest, 200, `GET manifest ${repository}:${reference}`);
    if (manifest.headers["docker-content-digest"] !== manifest.digest)
      throw new Error(`manifest ${reference} does not hash to its digest`);
    const parsed = JSON.parse(manifest.body.toString()) as {
      config: { digest: string; size: number };
      layers: Array<{ digest: string; size: number }>;
    };
    for (const blob of [parsed.config, ...parsed.layers]) await this.pullBlob(repository, blob.digest, blob.size);
    return { digest: manifest.digest, servedBy: String(manifest.headers["meridian-served-by"]) };
  }

  async pullBlob(repository: string, digest: string, size: number): Promise<Answer> {
    const answer = await this.call(`/v2/${repository}/blobs/${digest}`, { discard: true, timeoutMs: 180_000 });
    expectStatus(answer, 200, `GET blob ${digest}`);
    if (answer.digest !== digest || answer.bytes !== size)
      throw new Error(`blob ${digest}: ${answer.bytes} of ${size} bytes, hash ${answer.digest}`);
    return answer;
  }

  #send(
    path: string,
    options: {
      method?: string;
      headers?: Record<string, string>;
      body?: Buffer;
      discard?: boolean;
      timeoutMs?: number;
    },
    token: string | undefined,
  ): Promise<Answer> {
    return new Promise((done, failed) => {
      const outgoing = request(
        new URL(path, this.server),
        {
          method: options.method ?? "GET",
          agent: this.#agent,
          ca: this.#ca,
          timeout: options.timeoutMs ?? 60_000,
          headers: {
            ...options.headers,
            ...(token === undefined || options.headers?.authorization !== undefined
              ? {}
              : { authorization: `Bearer ${token}` }),
            ...(options.body === undefined ? {} : { "content-length": String(options.body.length) }),
          },
        },
        (response) => {
          const hash = createHash("sha256");
          const chunks: Buffer[] = [];
          let bytes = 0;
          response.on("data", (chunk: Buffer) => {
            hash.update(chunk);
            bytes += chunk.length;
            if (!options.discard) chunks.push(chunk);
          });
          response.on("end", () =>
            done({
              status: response.statusCode ?? 0,
              headers: response.headers,
              body: Buffer.concat(chunks),
              bytes,
              digest: `sha256:${hash.digest("hex")}`,
            }),
          );
          response.on("aborted", () => failed(new Error(`the answer to ${path} broke off after ${bytes} bytes`)));
          response.on("error", failed);
        },
      );
      outgoing.on("timeout", () => outgoing.destroy(new Error(`no progress on ${path}`)));
      outgoing.on("error", failed);
      outgoing.end(options.body);
    });
  }
}

function expectStatus(answer: Answer, status: number, what: string): void {
  if (answer.status !== status) throw new Error(`${what}: ${answer.status} ${answer.body.toString().slice(0, 500)}`);
}
