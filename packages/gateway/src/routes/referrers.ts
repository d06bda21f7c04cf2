import type { Catalog, ReferrerView } from "@meridian/catalog";
import { MediaType, parseManifest, tryParseDigest } from "@meridian/oci";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import { type ResourceHandlers, whenReady } from "../handler.ts";
import type { ManifestBytes } from "../manifest-bytes.ts";
import { linkTo, parseQuery } from "../query.ts";
import { asciiJson, Refusal } from "../refusal.ts";

interface ReferrersParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly manifests: ManifestBytes;
}

/** Clients read a page of at most 4 MiB, and some do not follow `Link`. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024 - 1024;

/**
 * `GET /v2/<name>/referrers/<digest>` (OCI distribution-spec, end-12): an index of what names the digest as its subject,
 * by digest; empty for a subject that nobody knows. One page unless it would be larger than 4 MiB.
 */
export function referrersRoute(parts: ReferrersParts): ResourceHandlers {
  return {
    GET: (exchange, { name, reference }) =>
      whenReady(parts.access.admit(exchange, repositoryNeed(name, "pull")), () => {
        const subject = tryParseDigest(reference);
        if (subject === undefined) throw new Refusal("DIGEST_INVALID", "the subject is not a sha256 or sha512 digest");
        const query = parseQuery(exchange.query);
        const wanted = query.get("artifactType") || null;
        const last = query.get("last") ?? "";
        const found = parts.catalog
          .referrers(name, subject)
          .filter(({ digest, artifactType }) => digest > last && (wanted === null || artifactType === wanted));
        const list = { path: `/v2/${name}/referrers/${subject}`, wanted, found };
        if (!found.some(({ partial }) => partial)) {
          send(exchange, list, firstPage(found), parts.answers);
          return;
        }
        return completed(name, found, parts).then((page) => send(exchange, list, page, parts.answers));
      }),
  };
}

/** As {@link firstPage}; annotations that did not fit into a record are read from the manifests themselves. */
async function completed(name: string, found: readonly ReferrerView[], parts: ReferrersParts): Promise<Entry[]> {
  const whole: ReferrerView[] = [];
  let left = MAX_PAGE_BYTES;
  for (const referrer of found) {
    const complete = referrer.partial ? await withAnnotations(name, referrer, parts) : referrer;
    whole.push(complete);
    left -= lengthOf(descriptor(complete));
    if (left < 0) break;
  }
  return firstPage(whole);
}

async function withAnnotations(
  name: string,
  referrer: ReferrerView,
  { catalog, manifests }: ReferrersParts,
): Promise<ReferrerView> {
  const view = catalog.manifest(name, referrer.digest);
  if (view === undefined) return referrer;
  const { bytes } = manifests.cached(view.digest) ?? (await manifests.load(name, view)).manifest;
  return { ...referrer, annotations: parseManifest(bytes, view.mediaType).annotations };
}

interface List {
  readonly path: string;
  /** The artifact type asked for. */
  readonly wanted: string | null;
  readonly found: readonly ReferrerView[];
}

type Entry = Record<string, unknown>;

function send(exchange: Exchange, { path, wanted, found }: List, page: readonly Entry[], answers: AnswerHeaders): void {
  const last = page.length < found.length ? found[page.length - 1] : undefined;
  const filter: Record<string, string> = wanted === null ? {} : { artifactType: wanted };
  const headers = [
    ...answers.fixed,
    "Cache-Control",
    CacheControl.changing,
    "Meridian-Version",
    answers.version(),
    ...answers.stale(),
    ...answers.behind(),
    ...(wanted === null ? [] : ["OCI-Filters-Applied", "artifactType"]),
    ...(last === undefined ? [] : linkTo(path, { ...filter, last: last.digest })),
  ];
  const index = { schemaVersion: 2, mediaType: MediaType.ociIndex, manifests: page };
  sendJson(exchange, 200, headers, index, MediaType.ociIndex);
}

/** As many as fit, one at least. */
function firstPage(found: readonly ReferrerView[]): Entry[] {
  const page: Entry[] = [];
  let left = MAX_PAGE_BYTES;
  for (const referrer of found) {
    const entry = descriptor(referrer);
    left -= lengthOf(entry);
    if (left < 0 && page.length > 0) break;
    page.push(entry);
  }
  return page;
}

/** As it goes on the wire, with the comma. */
function lengthOf(entry: Entry): number {
  return asciiJson(entry).length + 1;
}

function descriptor({ mediaType, digest, size, artifactType, annotations }: ReferrerView): Entry {
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === "" ? {} : { artifactType }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}
