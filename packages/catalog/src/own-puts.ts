import type { EventLog } from "@meridian/eventlog";
import type { Digest } from "@meridian/oci";
import type { CatalogReader } from "./catalog.ts";
import { registerName } from "./keys.ts";
import { decodeRecord } from "./merge.ts";

/** Something that was put at this site and is shown here. */
export interface OwnPut {
  readonly repository: string;
  readonly digest: Digest;
  /** Absent for a manifest that was put by its digest. */
  readonly tag?: string;
}

/** A part of what was put at this site. */
export interface OwnPuts {
  /** The life of the own log: a place in an earlier one means nothing. */
  readonly incarnation: string;
  readonly puts: readonly OwnPut[];
  /** Where the next part begins; absent at the end. */
  readonly next?: number;
}

/**
 * The tags and manifests whose records stand in the own log behind a place, as far as they are this site's own puts and
 * shown: the log is compacted, so what stands there is the last that the site wrote of each.
 * @throws ContentError `unavailable` when the log cannot be read.
 */
export async function ownPutsAfter(
  place: { readonly incarnation: string; readonly sequence: number },
  {
    site,
    log,
    reader,
    limit,
  }: {
    readonly site: string;
    readonly log: EventLog;
    readonly reader: Pick<CatalogReader, "tag" | "manifest">;
    readonly limit: number;
  },
): Promise<OwnPuts> {
  const { incarnation } = await log.head();
  const after = place.incarnation === incarnation.id ? place.sequence : 0;
  const entries = await log.under(`m.${site}.`, { after, limit });
  const puts = entries.flatMap(({ payload }) => putIn(payload, site, reader) ?? []);
  const last = entries.at(-1)?.sequence;
  const next = entries.length < limit ? undefined : last;
  return { incarnation: incarnation.id, puts, ...(next !== undefined && { next }) };
}

function putIn(payload: Uint8Array, site: string, reader: Pick<CatalogReader, "tag" | "manifest">): OwnPut | undefined {
  const name = registerName(keyOf(payload));
  const [repository = "", what = ""] = name?.parts ?? [];
  if (name?.kind === "tag") {
    const view = reader.tag(repository, what);
    return view?.site === site ? { repository, tag: what, digest: view.digest } : undefined;
  }
  if (name?.kind !== "manifest") return undefined;
  const view = reader.manifest(repository, what as Digest);
  return view?.site === site ? { repository, digest: view.digest } : undefined;
}

/** Sessions stand among the records, and are none. */
function keyOf(payload: Uint8Array): ReturnType<typeof decodeRecord>["key"] {
  try {
    return decodeRecord(payload).key;
  } catch {
    return undefined;
  }
}
