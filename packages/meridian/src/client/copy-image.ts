import { failure } from "../exit-status.ts";
import { describeError, type RegistryClient } from "./registry-client.ts";

/** Where an image is copied from and to. */
export interface ImageCopy {
  readonly from: RegistryClient;
  readonly to: RegistryClient;
  /** Added to each request to `from`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly repository: string;
}

interface Manifest {
  readonly mediaType?: string;
  readonly config?: Descriptor;
  readonly layers?: readonly Descriptor[];
  readonly blobs?: readonly Descriptor[];
  readonly manifests?: readonly Descriptor[];
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

const MANIFESTS = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];
const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

/** Bytes that a copy brought over. */
export interface Copied {
  readonly bytes: number;
}

/**
 * Pushes a manifest, by its digest, with everything that it needs and `to` does not have. Layers that may not be
 * distributed are left alone.
 * @throws CommandError (exit code 1) when either side refuses.
 */
export async function copyManifest(digest: string, copy: ImageCopy): Promise<Copied> {
  const { mediaType, bytes, manifest } = await readManifest(digest, copy);
  let copied = bytes.length;
  for (const child of manifest.manifests ?? []) copied += (await copyManifest(child.digest, copy)).bytes;
  const blobs = [...(manifest.config ? [manifest.config] : []), ...(manifest.layers ?? []), ...(manifest.blobs ?? [])];
  for (const blob of blobs) if (!/foreign|nondistributable/.test(blob.mediaType)) copied += await copyBlob(blob, copy);
  await putManifest(digest, { mediaType, bytes }, copy);
  return { bytes: copied };
}

/**
 * Lets a tag name a manifest that `to` has. `expected`: what it names now, undefined: nothing; it is left alone when that
 * changed meanwhile. False when it did.
 */
export async function copyTag(
  tag: string,
  digest: string,
  expected: string | undefined,
  copy: ImageCopy,
): Promise<boolean> {
  const found = await readManifest(digest, copy);
  const condition: Record<string, string> =
    expected === undefined ? { "if-none-match": "*" } : { "if-match": `"${expected}"` };
  return (await putManifest(tag, found, copy, condition)) !== 412;
}

async function readManifest(digest: string, { from, headers, repository }: ImageCopy) {
  const path = `/v2/${repository}/manifests/${digest}`;
  const answer = await from.stream(path, { headers: { ...headers, accept: MANIFESTS.join(", ") } });
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_MANIFEST_BYTES) throw failure(`${repository}@${digest} is too large for a manifest`);
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  if (answer.statusCode !== 200) throw failure(`${from.server}${path}: ${wordsOf(answer.statusCode, bytes)}`);
  const mediaType = answer.headers["content-type"] ?? MANIFESTS[1]!;
  return { mediaType, bytes, manifest: JSON.parse(bytes.toString("utf8")) as Manifest };
}

/** The status: 201, or 412 when the condition does not hold. */
async function putManifest(
  reference: string,
  { mediaType, bytes }: { readonly mediaType: string; readonly bytes: Buffer },
  { to, repository }: ImageCopy,
  condition: Readonly<Record<string, string>> = {},
): Promise<number> {
  const path = `/v2/${repository}/manifests/${reference}`;
  const headers = { "content-type": mediaType, "content-length": String(bytes.length), ...condition };
  const answer = await to.stream(path, { method: "PUT", headers, body: bytes });
  const body = await textOf(answer);
  if (answer.statusCode === 201 || answer.statusCode === 412) return answer.statusCode;
  throw failure(`${to.server}${path}: ${wordsOf(answer.statusCode, body)}`);
}

/** The bytes that crossed: 0 when it is there. */
async function copyBlob({ digest, size }: Descriptor, { from, to, headers, repository }: ImageCopy): Promise<number> {
  const path = `/v2/${repository}/blobs/${digest}`;
  const head = await to.stream(path, { method: "HEAD" });
  head.resume();
  if (head.statusCode === 200) return 0;
  const opened = await to.stream(`/v2/${repository}/blobs/uploads/`, {
    method: "POST",
    headers: { "content-length": "0" },
  });
  const words = await textOf(opened);
  if (opened.statusCode !== 202) throw failure(`${to.server}: ${wordsOf(opened.statusCode, words)}`);
  const source = await from.stream(path, { headers });
  if (source.statusCode !== 200)
    throw failure(`${from.server}${path}: ${wordsOf(source.statusCode, await textOf(source))}`);
  const location = new URL(String(opened.headers.location), to.server);
  location.searchParams.set("digest", digest);
  const done = await to.stream(`${location.pathname}${location.search}`, {
    method: "PUT",
    headers: { "content-type": "application/octet-stream", "content-length": String(size) },
    body: source,
  });
  const body = await textOf(done);
  if (done.statusCode !== 201) throw failure(`${to.server}: blob ${digest}: ${wordsOf(done.statusCode, body)}`);
  return size;
}

async function textOf(answer: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function wordsOf(status = 0, body: Buffer): string {
  return describeError({ status, headers: {}, text: body.toString("utf8") });
}
