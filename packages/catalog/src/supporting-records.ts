import type { OrderedReader } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import type { recordV1 } from "@meridian/wire";
import { findRecord, namers } from "./lookups.ts";
import { NamerRole, under } from "./view-layout.ts";

/** No answer is longer: one live name is enough to make a digest visible. */
const MAX_RECORDS = 64;
const MAX_NAMERS = 4;

/**
 * The registers that make a digest visible in the repository, walking up from it: its manifest and link, what names
 * it, what names those; then the nodes that hold it. A manifest's register is told even when its put is dead, for
 * what it references. Empty when the digest is not visible.
 */
export function supportingRecords(reader: OrderedReader, repository: string, digest: Digest): recordV1.Record[] {
  const keys = new Set<string>();
  const digests = [digest];
  for (const current of digests) {
    if (keys.size >= MAX_RECORDS) {
      break;
    }
    keys.add(`rm ${repository} ${current}`);
    for (const { role, namer } of namers(reader, repository, current, { limit: MAX_NAMERS })) {
      if (role === NamerRole.tag) {
        keys.add(`rt ${repository} ${namer}`);
      } else if (role !== NamerRole.absent && !digests.includes(namer as Digest)) {
        digests.push(namer as Digest);
      }
    }
  }
  keys.add(`rl ${repository} ${digest}`);
  const found = [...keys].flatMap((key) => findRecord(reader, key) ?? []);
  if (!found.some(({ live }) => live)) {
    return [];
  }
  return [...found.map(({ record }) => record), ...holderRecords(reader, digest)];
}

function holderRecords(reader: OrderedReader, digest: Digest): recordV1.Record[] {
  const rows = reader.range({ ...under(`rb ${digest} `), limit: MAX_RECORDS });
  return Array.from(rows, ([key]) => findRecord(reader, key)).flatMap((found) => (found?.live ? [found.record] : []));
}
