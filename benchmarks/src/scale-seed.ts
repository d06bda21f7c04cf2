import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { logEntryOf, toWireDigest } from "@meridian/catalog";
import { type ConditionalEntry, openEmbeddedLogs } from "@meridian/eventlog";
import { digestHex, digestOf } from "@meridian/oci";
import { createLogger, createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";

/** Names the history of a tag has besides: who wrote it. */
const WHO = "admin";
const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const TAGS_AT_ONCE = 500;
const NODE = "eu/site";
const BLOB_BYTES = 16;

/** Entries that an image of one layer leaves in the log: tag, its history, manifest, two links, three holders. */
export const RECORDS_PER_TAG = 8;

/** The repository of the n-th tag when so many share one. */
export function repositoryOf(tag: number, perRepository: number): string {
  const repository = Math.floor(tag / perRepository);
  return `scale/team-${Math.floor(repository / 100)}/app-${repository % 100}`;
}

/** Clock-shaped readings that rise with each call, from a minute ago on. */
function readings(): () => recordV1.Hlc {
  let time = BigInt(Date.now() - 60_000) << 16n;
  return () => create(recordV1.HlcSchema, { time: ++time, site: "eu", writer: "seed" });
}

/**
 * Writes what pushes of so many images would have left at site eu, whose process is stopped: the log's entries, and files
 * of the size of a name, for what is recorded and not there is looked for. Resolves with the entries written.
 */
export async function seedTags(
  folder: string,
  { tags, perRepository, from = 0 }: { tags: number; perRepository: number; from?: number },
): Promise<number> {
  const common = { site: "eu", clock: createSystemClock(), timers: systemTimers, random: systemRandom };
  const log = createLogger({ level: "warn" });
  await using logs = await openEmbeddedLogs({ ...common, log, path: join(folder, "log"), writer: "eu/seed" });
  const stream = await logs.open("META_eu");
  const next = readings();
  let written = 0;
  for (let start = from; start < from + tags; start += TAGS_AT_ONCE) {
    const entries: ConditionalEntry[] = [];
    for (let tag = start; tag < Math.min(start + TAGS_AT_ONCE, from + tags); tag++) {
      const digests = [storeBlob(folder), storeBlob(folder), storeBlob(folder)] as const;
      for (const record of imageRecords(repositoryOf(tag, perRepository), `v${tag}`, digests, next)) {
        entries.push({ entry: logEntryOf("eu", record) });
      }
    }
    await stream.appendAll!(entries);
    written += entries.length;
  }
  return written;
}

function* imageRecords(
  repository: string,
  tag: string,
  [manifest, config, layer]: readonly [recordV1.Digest, recordV1.Digest, recordV1.Digest],
  next: () => recordV1.Hlc,
): Iterable<recordV1.Record> {
  const size = BigInt(BLOB_BYTES);
  for (const digest of [config, layer]) {
    yield put({ case: "link", value: { repository, digest } }, { case: "link", value: { size } }, next());
  }
  for (const digest of [config, layer, manifest]) {
    const value = { state: recordV1.BlobState.PRESENT, size };
    yield put({ case: "blobAtNode", value: { digest, node: NODE } }, { case: "blobAtNode", value }, next());
  }
  const { CONFIG, LAYER } = recordV1.ReferenceRole;
  const references = [
    { digest: config, size, role: CONFIG },
    { digest: layer, size, role: LAYER },
  ];
  const value = { mediaType: MANIFEST_TYPE, size, references };
  yield put({ case: "manifest", value: { repository, digest: manifest } }, { case: "manifest", value }, next());
  const hlc = next();
  const named = { digest: manifest, mediaType: MANIFEST_TYPE, size };
  yield put({ case: "tag", value: { repository, tag } }, { case: "tag", value: named }, hlc);
  const line = { ...named, who: WHO, site: "eu" };
  yield put({ case: "history", value: { repository, tag, hlc } }, { case: "history", value: line }, hlc);
}

type Init = NonNullable<Parameters<typeof create<typeof recordV1.RecordSchema>>[1]>;
type KeyKind = NonNullable<NonNullable<Init["key"]>["kind"]>;
type PutValue = NonNullable<NonNullable<Init["put"]>["value"]>;

function put(kind: KeyKind, value: PutValue, hlc: recordV1.Hlc): recordV1.Record {
  return create(recordV1.RecordSchema, { format: 1, key: { kind }, put: { hlc, value } });
}

function storeBlob(folder: string): recordV1.Digest {
  const content = randomBytes(BLOB_BYTES);
  const digest = digestOf(content);
  const hex = digestHex(digest);
  writeFileSync(join(folder, "blobs", "blobs", "sha256", hex.slice(0, 2), hex), content, { mode: 0o600 });
  return toWireDigest(digest);
}
