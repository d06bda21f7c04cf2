import { fromWireDigest, hlcMs, isAlive, registerNameOf } from "@meridian/catalog";
import { recordV1 } from "@meridian/wire";

/** A register in the words of users: what sort of thing it is, and which. */
export function describeKey(key: string): { readonly kind: string; readonly name: string } {
  const { kind, parts } = registerNameOf(key);
  const [first = "", second = ""] = parts;
  switch (kind) {
    case "tag":
      return { kind, name: `${first}:${second}` };
    case "blob":
      return { kind: "blob-at-node", name: `${first} at ${second}` };
    case "repository":
      return { kind, name: first };
    default:
      return { kind, name: `${first}@${second}` };
  }
}

/** What a side has of a register, e.g. "sha256:…, written at eu on 2026-11-30T12:00:00.000Z". */
export function describeRegister(record: recordV1.Record | undefined): string {
  if (record === undefined) return "nothing";
  const hlc = record.put?.hlc;
  const written = hlc === undefined ? "" : `written at ${hlc.site} on ${new Date(hlcMs(hlc.time)).toISOString()}`;
  if (!isAlive(record)) return written === "" ? "a deletion" : `a deletion of what was ${written}`;
  return [describeValue(record), written].filter((part) => part !== "").join(", ");
}

function describeValue({ put }: recordV1.Record): string {
  const value = put?.value;
  switch (value?.case) {
    case "tag":
      return fromWireDigest(value.value.digest);
    case "manifest":
      return `${value.value.mediaType}, ${value.value.size} bytes`;
    case "link":
      return `${value.value.size} bytes`;
    case "blobAtNode":
      return value.value.state === recordV1.BlobState.PRESENT ? "present" : "draining";
    case "repository":
      return `created by ${value.value.createdBy}`;
    default:
      return "";
  }
}
