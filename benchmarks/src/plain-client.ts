import { createHash } from "node:crypto";

/** A client of one gateway over plain HTTP with one token, for set-up and for writes that are timed. */
export interface PlainClient {
  readonly origin: string;
  /** The Authorization header; empty for none. */
  readonly authorization: string;
  /** @throws Error unless the answer is one of `statuses`. */
  call(path: string, init: RequestInit, statuses: readonly number[]): Promise<Response>;
  /** Resolves with the digest, which is computed unless given. */
  pushBlob(repository: string, bytes: Uint8Array, digest?: string): Promise<string>;
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

/** A client of a registry that lets everybody in. */
export function anonymous(origin: string): PlainClient {
  return new TokenClient(origin, "");
}

/** Pushes both blobs and the manifest as tag v1; resolves with the blobs' digests. */
export async function pushFixture(
  client: PlainClient,
  repository: string,
  { manifest, small, large }: { readonly manifest: string; readonly small: Buffer; readonly large: Buffer },
): Promise<{ small: string; large: string }> {
  await client.pushBlob(repository, Buffer.from("{}"));
  const digests = { small: await client.pushBlob(repository, small), large: await client.pushBlob(repository, large) };
  await client.pushManifest(repository, "v1", manifest);
  return digests;
}

/** The digest of these bytes. */
export function sha256Of(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
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
    if (this.authorization !== "") headers.set("authorization", this.authorization);
    const answer = await fetch(new URL(path, this.origin), { ...init, headers });
    if (!statuses.includes(answer.status))
      throw new Error(`${init.method ?? "GET"} ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  }

  async pushBlob(repository: string, bytes: Uint8Array, digest = sha256Of(bytes)): Promise<string> {
    const opened = await this.call(`/v2/${repository}/blobs/uploads/`, { method: "POST" }, [202]);
    await opened.arrayBuffer();
    const location = new URL(opened.headers.get("location") ?? "", this.origin);
    location.searchParams.set("digest", digest);
    const put = await this.call(
      location.href,
      {
        method: "PUT",
        body: bytes as Uint8Array<ArrayBuffer>,
        headers: { "content-type": "application/octet-stream" },
      },
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
