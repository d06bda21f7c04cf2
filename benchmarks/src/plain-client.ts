import { createHash } from "node:crypto";

/** A client of one gateway over plain HTTP with one token, for set-up and for writes that are timed. */
export interface PlainClient {
  readonly origin: string;
  readonly authorization: string;
  /** @throws Error unless the answer is one of `statuses`. */
  call(path: string, init: RequestInit, statuses: readonly number[]): Promise<Response>;
  pushBlob(repository: string, bytes: Uint8Array): Promise<string>;
  /** Resolves with the answer's headers. */
  pushManifest(repository: string, reference: string, manifest: string): Promise<Headers>;
}

export async function logIn(origin: string, password: string, repositories: readonly string[]): Promise<PlainClient> {
  const scope = repositories
    .map((repository) => `scope=${encodeURIComponent(`repository:${repository}:pull,push`)}`)
    .join("&");
  const service =
    /service="([^"]*)"/.exec((await fetch(`${origin}/v2/`)).headers.get("www-authenticate") ?? "")?.[1] ?? "";
  const answer = await fetch(`${origin}/token?service=${encodeURIComponent(service)}&${scope}`, {
    headers: { authorization: `Basic ${Buffer.from(`admin:${password}`).toString("base64")}` },
  });
  if (!answer.ok) throw new Error(`login at ${origin}: ${answer.status}`);
  const { token } = (await answer.json()) as { token: string };
  return new TokenClient(origin, `Bearer ${token}`);
}

class TokenClient implements PlainClient {
  readonly origin: string;
  readonly authorization: string;

  constructor(origin: string, authorization: string) {
    this.origin = origin;
    this.authorization = authorization;
  }

  async call(path: string, init: RequestInit, statuses: readonly number[]): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set("authorization", this.authorization);
    const answer = await fetch(new URL(path, this.origin), { ...init, headers });
    if (!statuses.includes(answer.status))
      throw new Error(`${init.method ?? "GET"} ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  }

  async pushBlob(repository: string, bytes: Uint8Array): Promise<string> {
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    const opened = await this.call(`/v2/${repository}/blobs/uploads/`, { method: "POST" }, [202]);
    await opened.arrayBuffer();
    const put = await this.call(
      `${opened.headers.get("location")}?digest=${digest}`,
      { method: "PUT", body: new Uint8Array(bytes) },
      [201],
    );
    await put.arrayBuffer();
    return digest;
  }

  async pushManifest(repository: string, reference: string, manifest: string): Promise<Headers> {
    const answer = await this.call(
      `/v2/${repository}/manifests/${reference}`,
      { method: "PUT", body: manifest, headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" } },
      [201],
    );
    await answer.arrayBuffer();
    return answer.headers;
  }
}

/** A manifest text over one config and layers that are pushed already. */
export function manifestOf(
  config: { digest: string; size: number },
  layers: ReadonlyArray<{ digest: string; size: number }>,
  note: string,
): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
    layers: layers.map((layer) => ({ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...layer })),
    annotations: { "org.opencontainers.image.ref.name": note },
  });
}
