import { ContentError } from "@meridian/oci";
import { formatVersion, parseVersion, type VersionVector } from "./version-token.ts";

/** What a gateway says to the others of its site. */
export interface Announcement {
  /** The process's name; one that starts again takes its predecessor's place. */
  readonly process: string;
  /** Unique to this run of the process. */
  readonly instance: string;
  readonly state: "starting" | "live" | "leaving";
  /** When it was said, by the sender's monotonic clock, in milliseconds. */
  readonly saidAt: number;
  readonly folded: VersionVector;
  /** The instances that the sender waits for before it answers a write. */
  readonly lists: readonly string[];
}

const FORMAT = 1;

export function encodeAnnouncement({ folded, ...rest }: Announcement): Uint8Array {
  return Buffer.from(JSON.stringify({ format: FORMAT, folded: formatVersion(folded), ...rest }));
}

/** @throws ContentError `invalid` for what no version of this process says. */
export function decodeAnnouncement(payload: Uint8Array): Announcement {
  let parsed: Partial<Record<keyof Announcement | "format", unknown>>;
  try {
    parsed = JSON.parse(Buffer.from(payload).toString("utf8"));
  } catch (cause) {
    throw new ContentError("invalid", "an announcement that is no JSON", { cause });
  }
  const { format, process, instance, state, saidAt, folded, lists } = parsed;
  const valid =
    format === FORMAT &&
    typeof process === "string" &&
    typeof instance === "string" &&
    (state === "starting" || state === "live" || state === "leaving") &&
    typeof saidAt === "number" &&
    typeof folded === "string" &&
    Array.isArray(lists);
  if (!valid) {
    throw new ContentError("invalid", "an announcement of another format");
  }
  return { process, instance, state, saidAt, folded: parseVersion(folded), lists: lists.map(String) };
}
