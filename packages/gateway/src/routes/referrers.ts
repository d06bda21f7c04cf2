import type { CatalogReader, ReferrerView } from "@meridian/catalog";
import { tryParseDigest } from "@meridian/oci";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import { type ResourceHandlers, whenReady } from "../handler.ts";
import { parseQuery } from "../query.ts";
import { Refusal } from "../refusal.ts";

const INDEX = "application/vnd.oci.image.index.v1+json";
/** Clients read one page of at most 4 MiB and do not follow `Link`. */
const MAX_LIST = 4 * 1024 * 1024 - 1024;

/**
 * `GET /v2/<name>/referrers/<digest>` (OCI distribution-spec, end-12): an index of what names the digest as its subject;
 * empty for a subject that nobody knows.
 */
export function referrersRoute(parts: {
  access: Access;
  answers: AnswerHeaders;
  catalog: CatalogReader;
}): ResourceHandlers {
  const { access, answers, catalog } = parts;
  return {
    GET: (exchange, { name, reference }) =>
      whenReady(access.admit(exchange, repositoryNeed(name, "pull")), () => {
        const subject = tryParseDigest(reference);
        if (subject === undefined) throw new Refusal("DIGEST_INVALID", "the subject is not a sha256 or sha512 digest");
        const wanted = parseQuery(exchange.query).get("artifactType");
        const referrers = catalog.referrers(name, subject);
        const shown = wanted === null ? referrers : referrers.filter(({ artifactType }) => artifactType === wanted);
        const headers = [
          ...answers.fixed,
          "Cache-Control",
          CacheControl.changing,
          "Meridian-Version",
          answers.version(),
          ...answers.behind(),
          ...(wanted === null ? [] : ["OCI-Filters-Applied", "artifactType"]),
        ];
        const index = { schemaVersion: 2, mediaType: INDEX, manifests: within(MAX_LIST, shown.map(descriptor)) };
        sendJson(exchange, 200, headers, index, INDEX);
      }),
  };
}

function descriptor({ mediaType, digest, size, artifactType, annotations }: ReferrerView): Record<string, unknown> {
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === "" ? {} : { artifactType }),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** Descriptors beyond the limit go without their annotations, which are what makes a list large. */
function within(limit: number, descriptors: Record<string, unknown>[]): Record<string, unknown>[] {
  let left = limit;
  return descriptors.map((entry) => {
    const length = JSON.stringify(entry).length;
    left -= length;
    if (left >= 0) return entry;
    const { annotations: _, ...bare } = entry;
    left += length - JSON.stringify(bare).length;
    return bare;
  });
}
