import { type Catalog, manifestValueOf } from "@meridian/catalog";
import { type Digest, parseManifest, tryParseReference } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl } from "../answer.ts";
import type { BlobSources } from "../blob-sources.ts";
import { entityTag, isFresh } from "../conditional.ts";
import type { Exchange, HeaderList } from "../exchange.ts";
import type { FindContent } from "../find-content.ts";
import { type Handler, whenReady } from "../handler.ts";
import type { CachedManifest, LoadedManifest, ManifestBytes } from "../manifest-bytes.ts";
import type { PullInterest } from "../pull-interest.ts";
import { Refusal } from "../refusal.ts";
import { step } from "../tracing.ts";

interface ManifestPullParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly find: FindContent;
  readonly manifests: ManifestBytes;
  readonly interest: PullInterest;
  readonly sources: Pick<BlobSources, "reachable">;
  readonly log: Logger;
}

/** A manifest as the view shows it. */
interface VisibleManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly site: string;
}

/**
 * `GET` and `HEAD /v2/<name>/manifests/<reference>` (OCI distribution-spec, end-3). A known token and a manifest in
 * memory are answered in one go, without a promise: most of a registry's requests are these.
 */
export function pullManifest(parts: ManifestPullParts): Handler {
  const { access, find } = parts;
  return (exchange, { name, reference }) =>
    whenReady(access.admit(exchange, repositoryNeed(name, "pull")), () => {
      const asked = tryParseReference(reference);
      if (asked === undefined) throw unknownReference(name, reference);
      if (asked.kind === "tag") return pullTag(exchange, name, asked.tag, parts);
      return whenReady(
        step(exchange, "catalog.get", () => find.manifest(name, asked.digest)),
        (view) => answer(exchange, name, view, false, parts),
      );
    });
}

function pullTag(exchange: Exchange, name: string, tag: string, parts: ManifestPullParts): void | Promise<void> {
  const view = exchange.traced
    ? step(exchange, "catalog.get", () => parts.catalog.tag(name, tag))
    : parts.catalog.tag(name, tag);
  if (view !== undefined) return answer(exchange, name, view, true, parts);
  const headers = parts.answers.behind();
  if (!parts.catalog.hasRepository(name))
    throw new Refusal("NAME_UNKNOWN", `there is no repository ${name} here`, { headers });
  throw new Refusal("MANIFEST_UNKNOWN", `repository ${name} has no tag ${tag}`, { detail: { tag }, headers });
}

function unknownReference(name: string, reference: string): Refusal {
  if (reference.includes(":")) return new Refusal("DIGEST_INVALID", "not a sha256 or sha512 digest");
  return new Refusal("MANIFEST_UNKNOWN", `repository ${name} has no such tag: it is not a tag's name`);
}

function answer(
  exchange: Exchange,
  name: string,
  view: VisibleManifest,
  byTag: boolean,
  parts: ManifestPullParts,
): void | Promise<void> {
  // Who only asks may be about to push an index that names it.
  if (exchange.method === "HEAD") parts.catalog.pins.pin(name, view.digest, view.size);
  const cached = parts.manifests.cached(view.digest);
  if (cached !== undefined) {
    send(exchange, cached, headersFor(cached, view.mediaType, byTag, parts.answers));
    return;
  }
  if (isToldByRecords(exchange, view, parts)) {
    head(exchange, view, byTag, parts.answers);
    return;
  }
  return load(name, view, parts).then(({ manifest, servedBy, route }) => {
    const from = { servedBy, route };
    send(
      exchange,
      manifest,
      withChanging(headersOf(manifest, view.mediaType, byTag, from, parts.answers), byTag, parts.answers),
    );
  });
}

/** The records tell all that a HEAD answers; the bytes stay where they are, as long as a holder is within reach. */
function isToldByRecords({ method }: Exchange, view: VisibleManifest, { sources }: ManifestPullParts): boolean {
  return method === "HEAD" && view.mediaType !== "" && view.size > 0 && sources.reachable(view);
}

function head(exchange: Exchange, view: VisibleManifest, byTag: boolean, answers: AnswerHeaders): void {
  const from = { servedBy: answers.self, route: "records" };
  const list = makeHeaders(view, view.mediaType, byTag, from, answers);
  const fresh = exchange.header("if-none-match") !== undefined && isFresh(exchange, view.digest);
  exchange.send(fresh ? 304 : 200, withChanging(list, byTag, answers));
}

/** Reads the bytes, and tells the catalog what they reference where no record does. */
async function load(
  name: string,
  view: VisibleManifest,
  { manifests, catalog, interest, log }: ManifestPullParts,
): Promise<LoadedManifest> {
  interest.pulled(name, view.digest);
  const loaded = await manifests.load(name, view);
  const value = catalog.manifest(name, view.digest)?.value;
  if (value === undefined || value.seeBytes) {
    try {
      const { bytes } = loaded.manifest;
      const manifest = parseManifest(bytes, view.mediaType || undefined);
      await catalog.learnManifest(name, view.digest, manifestValueOf(manifest, bytes.byteLength));
    } catch (error) {
      log.warn("what a manifest references could not be read from its bytes", { digest: view.digest, error });
    }
  }
  return loaded;
}

function send(exchange: Exchange, manifest: CachedManifest, headers: HeaderList): void {
  if (exchange.header("if-none-match") !== undefined && isFresh(exchange, manifest.digest)) exchange.send(304, headers);
  else exchange.send(200, headers, manifest.body);
}

/** Headers made once for each manifest and version of the view; what changes by itself is added. */
function headersFor(manifest: CachedManifest, mediaType: string, byTag: boolean, answers: AnswerHeaders): HeaderList {
  const version = answers.version();
  const kind = byTag ? "tag" : "digest";
  let made = manifest.headers.get(kind);
  if (made === undefined || made.version !== version || made.mediaType !== mediaType) {
    const from = { servedBy: answers.self, route: "memory" };
    // Frozen: the edge keeps what it becomes on the wire.
    made = { version, mediaType, list: Object.freeze(headersOf(manifest, mediaType, byTag, from, answers)) };
    manifest.headers.set(kind, made);
  }
  return withChanging(made.list, byTag, answers);
}

function withChanging(list: HeaderList, byTag: boolean, answers: AnswerHeaders): HeaderList {
  const stale = answers.stale();
  const behind = byTag ? answers.behind() : [];
  return stale.length === 0 && behind.length === 0 ? list : [...list, ...stale, ...behind];
}

function headersOf(
  { digest, bytes }: CachedManifest,
  mediaType: string,
  byTag: boolean,
  from: { readonly servedBy: string; readonly route: string },
  answers: AnswerHeaders,
): string[] {
  // While no record tells, the document does.
  const type = mediaType || parseManifest(bytes).mediaType;
  return makeHeaders({ digest, size: bytes.byteLength }, type, byTag, from, answers);
}

function makeHeaders(
  { digest, size }: Pick<VisibleManifest, "digest" | "size">,
  mediaType: string,
  byTag: boolean,
  from: { readonly servedBy: string; readonly route: string },
  answers: AnswerHeaders,
): string[] {
  return [
    "Content-Type",
    mediaType,
    "Content-Length",
    String(size),
    "Docker-Content-Digest",
    digest,
    "ETag",
    entityTag(digest),
    "Cache-Control",
    byTag ? CacheControl.changing : CacheControl.digest,
    ...answers.fixed,
    "Meridian-Version",
    answers.version(),
    "Meridian-Served-By",
    from.servedBy,
    "Meridian-Route",
    from.route,
  ];
}
