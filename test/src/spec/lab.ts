import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import type { DevProcess } from "../harness/dev-process.ts";
import { type RawAnswer, RawHttp, type RawRequest } from "../harness/raw-http.ts";
import { RawHttp2 } from "../harness/raw-http2.ts";

/** One requirement, and what shows that it is met. */
export interface Row {
  /** Where it stands: an endpoint or section of the OCI distribution-spec, an RFC, or a section of docs/clients.md. */
  readonly section: string;
  readonly must: string;
  /** It says nothing about content, so that one site is enough. */
  readonly oneSite?: boolean;
  /** Shown over HTTP/2 too. */
  readonly http2?: boolean;
  run(lab: Lab): Promise<void>;
}

/** How the requests of a row enter the cluster. */
export interface Way {
  readonly name: string;
  readonly http2: boolean;
  /** The site that takes the writes. */
  readonly writer: string;
  /** The site that takes the reads, and what is left of an upload once it has begun. */
  readonly reader: string;
}

export type Algorithm = "sha256" | "sha512";

export function digestOf(bytes: Uint8Array | string, algorithm: Algorithm = "sha256"): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}

export const Type = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
} as const;

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export function descriptorOf(mediaType: string, bytes: Buffer, algorithm?: Algorithm): Descriptor {
  return { mediaType, digest: digestOf(bytes, algorithm), size: bytes.length };
}

/** A manifest or index that was pushed. */
export interface Pushed {
  readonly bytes: Buffer;
  readonly digest: string;
  readonly descriptor: Descriptor;
  readonly answer: RawAnswer;
}

/** The clients and tokens of one cluster, shared by its rows. */
export class LabClients implements Disposable {
  readonly cluster: DevProcess;
  readonly #open = new Map<string, RawHttp | RawHttp2>();
  #refreshToken: string | undefined;

  constructor(cluster: DevProcess) {
    this.cluster = cluster;
  }

  to(site: string, http2: boolean): RawHttp | RawHttp2 {
    const key = `${site} ${http2}`;
    const known = this.#open.get(key);
    if (known !== undefined) return known;
    const origin = this.cluster.gateway(site);
    const made = http2 ? new RawHttp2(origin, this.cluster.ca) : new RawHttp(origin, this.cluster.ca);
    this.#open.set(key, made);
    return made;
  }

  /** A token of the admin for these scopes. */
  async token(site: string, scopes: readonly string[]): Promise<string> {
    const login: Record<string, string> =
      this.#refreshToken === undefined
        ? { grant_type: "password", username: "admin", password: this.cluster.adminPassword, access_type: "offline" }
        : { grant_type: "refresh_token", refresh_token: this.#refreshToken };
    const form = new URLSearchParams({ service: "meridian.dev", client_id: "spec", ...login, scope: scopes.join(" ") });
    const answer = await this.to(site, false).ask("POST", "/token", {
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: form.toString(),
    });
    expect(answer, 200);
    const { access_token, refresh_token } = answer.json<{ access_token: string; refresh_token?: string }>();
    this.#refreshToken ??= refresh_token;
    return access_token;
  }

  [Symbol.dispose](): void {
    for (const client of this.#open.values()) client[Symbol.dispose]();
  }
}

/** What one row works with: a repository of its own, and a way to it. */
export class Lab {
  readonly way: Way;
  readonly clients: LabClients;
  readonly name: string;
  /** A second repository. */
  readonly other: string;
  readonly token: string;
  #version: string | undefined;

  private constructor(clients: LabClients, way: Way, name: string, token: string) {
    this.clients = clients;
    this.way = way;
    this.name = name;
    this.other = `${name}-other`;
    this.token = token;
  }

  static async open(clients: LabClients, way: Way): Promise<Lab> {
    const name = `spec/${randomBytes(6).toString("hex")}`;
    const scopes = [name, `${name}-other`].map((repository) => `repository:${repository}:pull,push,delete`);
    return new Lab(clients, way, name, await clients.token(way.writer, scopes));
  }

  /** At the site that takes the writes. Paths that do not begin with `/v2/` are below the repository. */
  async write(method: string, path: string, request: RawRequest = {}): Promise<RawAnswer> {
    return this.#note(await this.#ask(this.way.writer, method, path, request));
  }

  /** At the site that takes the reads; it shows what was written before. */
  read(method: string, path: string, request: RawRequest = {}): Promise<RawAnswer> {
    const wanted: Record<string, string> =
      this.#version === undefined || this.way.reader === this.way.writer
        ? {}
        : { "meridian-min-version": this.#version };
    return this.#ask(this.way.reader, method, path, { ...request, headers: { ...wanted, ...request.headers } });
  }

  /** A write that enters at the site of the reads: what an upload session goes through, wherever it was begun. */
  async through(method: string, path: string, request: RawRequest = {}): Promise<RawAnswer> {
    return this.#note(await this.#ask(this.way.reader, method, path, request));
  }

  get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<RawAnswer> {
    return this.read("GET", path, { headers });
  }

  head(path: string, headers: Readonly<Record<string, string>> = {}): Promise<RawAnswer> {
    return this.read("HEAD", path, { headers });
  }

  /** Without a token. */
  bare(method: string, path: string, request: RawRequest = {}): Promise<RawAnswer> {
    return this.clients.to(this.way.reader, this.way.http2).ask(method, path, request);
  }

  /** The `Location` of a new upload session. */
  async begin(query = ""): Promise<string> {
    const begun = await this.write("POST", `/blobs/uploads/${query}`);
    expect(begun, 202);
    return String(begun.headers.location);
  }

  async pushBlob(bytes: Buffer, algorithm?: Algorithm, repository = this.name): Promise<string> {
    const digest = digestOf(bytes, algorithm);
    const pushed = await this.write("POST", `/v2/${repository}/blobs/uploads/?digest=${digest}`, { body: bytes });
    expect(pushed, 201);
    return digest;
  }

  /** Pushes any document; a reference of "" stands for its digest. */
  async put(reference: string, document: unknown, request: RawRequest = {}): Promise<Pushed> {
    const bytes = Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document));
    const { mediaType = Type.manifest } = JSON.parse(bytes.toString()) as { mediaType?: string };
    const [named = "", query = ""] = reference.split("?");
    const algorithm = named.startsWith("sha512") ? "sha512" : "sha256";
    const path = `/manifests/${named || digestOf(bytes)}${query && `?${query}`}`;
    const headers = { "content-type": mediaType, ...request.headers };
    const answer = await this.write("PUT", path, { body: bytes, headers });
    return {
      bytes,
      digest: digestOf(bytes, algorithm),
      descriptor: descriptorOf(mediaType, bytes, algorithm),
      answer,
    };
  }

  /** An image whose blobs are pushed, as a document. */
  async image(more: Readonly<Record<string, unknown>> = {}, layer: Buffer = randomBytes(100)) {
    const config = Buffer.from(JSON.stringify({ id: randomBytes(8).toString("hex") }));
    await this.pushBlob(config);
    await this.pushBlob(layer);
    return {
      schemaVersion: 2,
      mediaType: Type.manifest as string,
      config: descriptorOf(Type.config, config),
      layers: [descriptorOf(Type.layer, layer)],
      ...more,
    };
  }

  /** Pushes an image under a tag, or by digest only. */
  async pushImage(tag = "", more: Readonly<Record<string, unknown>> = {}): Promise<Pushed> {
    const pushed = await this.put(tag, await this.image(more));
    expect(pushed.answer, 201);
    return pushed;
  }

  async pushIndex(tag: string, children: readonly Descriptor[], more: Readonly<Record<string, unknown>> = {}) {
    const pushed = await this.put(tag, { schemaVersion: 2, mediaType: Type.index, manifests: children, ...more });
    expect(pushed.answer, 201);
    return pushed;
  }

  #ask(site: string, method: string, path: string, request: RawRequest): Promise<RawAnswer> {
    const target = path.startsWith("/v2/") ? path : `/v2/${this.name}${path}`;
    const headers = { authorization: `Bearer ${this.token}`, ...request.headers };
    return this.clients.to(site, this.way.http2).ask(method, target, { ...request, headers });
  }

  #note(answer: RawAnswer): RawAnswer {
    const version = answer.headers["meridian-version"];
    if (typeof version === "string") this.#version = version;
    return answer;
  }
}

/** @throws AssertionError that shows the body. */
export function expect(answer: RawAnswer, status: number, code?: string): void {
  assert.equal(answer.status, status, `${answer.status} instead of ${status}: ${answer.body.toString().slice(0, 500)}`);
  if (code !== undefined) assert.equal(answer.error?.code, code);
}

/** Each row at one site, across two, and some over HTTP/2: what holds may not depend on where a request enters. */
const WAYS: ReadonlyArray<Way & { readonly takes: (row: Row) => boolean }> = [
  { name: "at one site", http2: false, writer: "eu", reader: "eu", takes: () => true },
  { name: "across sites", http2: false, writer: "eu", reader: "us", takes: ({ oneSite }) => !oneSite },
  { name: "across sites, HTTP/2", http2: true, writer: "us", reader: "eu", takes: ({ http2 }) => http2 === true },
];

/** Registers a test for each row and each way that it takes. */
export function registerRows(tables: Readonly<Record<string, readonly Row[]>>, clients: () => LabClients): void {
  for (const way of WAYS) {
    for (const [table, rows] of Object.entries(tables)) {
      describe(`${table}, ${way.name}`, () => {
        for (const row of rows.filter(way.takes)) {
          test(`${row.section}: ${row.must}`, async () => row.run(await Lab.open(clients(), way)));
        }
      });
    }
  }
}
