import type { Digest } from "@meridian/oci";
import { SEPARATOR } from "./keys.ts";

/**
 * What the view's store holds. Everything but `x`, and what other members answered, can be folded again from the logs.
 *
 *     f                                        format of this layout
 *     c <stream>                               how far the stream is folded, see positions.ts
 *     h <time> <stream> <sequence>             a record from the future, see held.ts
 *     l <site> <incarnation>                   what a log says of one of its lives: its sequence there in 8 bytes, the record
 *     rt|rm|rl|rb|rr …                         registers, see keys.ts: header, then the canonical record
 *     t <repository> <tag>                     a live tag: digest, size, site, media type
 *     n <repository> <digest> 0<tag>           a live tag names the digest: size, site, media type
 *     n <repository> <digest> 1<manifest>      a visible index has it as a child: the same
 *     n <repository> <digest> 2<manifest>      a visible manifest has it as config or layer: the same
 *     n <repository> <digest> 3<manifest>      a visible manifest was pushed without it: keeps it, but shows nothing
 *     d <repository> <digest>                  why the digest is visible, see standing.ts
 *     s <repository> <subject> <manifest>      a visible manifest has this subject
 *     y <repository> <digest>                  a visible manifest whose references are not known: neither a record nor its bytes told
 *     w <digest> <repository>                  the repository links the digest
 *     v <repository>                           how many tags, manifests, links and repository records live in it
 *     x <repository> <digest>                  a manifest's references, read from its bytes
 *
 * Rows `n` and `s` of a manifest stand there only while it is visible.
 */
export const VIEW_FORMAT = "4";

export const FORMAT_KEY = "f";

/** How a digest is named, as the rows `n` say it. */
export const NamerRole = { tag: "0", child: "1", blob: "2", absent: "3" } as const;
export type NamerRole = (typeof NamerRole)[keyof typeof NamerRole];

export const liveTagKey = (repository: string, tag: string): string => `t ${repository} ${tag}`;
export const namerKey = (repository: string, digest: Digest, role: NamerRole, namer: string): string =>
  `n ${repository} ${digest} ${role}${namer}`;
export const standingKey = (repository: string, digest: Digest): string => `d ${repository} ${digest}`;
export const referrerKey = (repository: string, subject: Digest, manifest: Digest): string =>
  `s ${repository} ${subject} ${manifest}`;
export const linkerKey = (digest: Digest, repository: string): string => `w ${digest} ${repository}`;
export const unreadKey = (repository: string, digest: Digest): string => `y ${repository} ${digest}`;
export const liveCountKey = (repository: string): string => `v ${repository}`;
export const learnedKey = (repository: string, digest: Digest): string => `x ${repository} ${digest}`;

/** All keys that begin with `prefix`, which ends in a separator. */
export function under(prefix: string): { start: string; end: string } {
  return { start: prefix, end: prefix.slice(0, -1) + String.fromCharCode(SEPARATOR.charCodeAt(0) + 1) };
}

/** The rows of all registers. */
export const REGISTERS = { start: "r", end: "s" } as const;

/** What a name says about a digest. */
export interface Named {
  readonly size: number;
  readonly site: string;
  readonly mediaType: string;
}

export interface NamedTag extends Named {
  readonly digest: Digest;
}

export function encodeNamed({ size, site, mediaType }: Named): Uint8Array {
  return Buffer.from(`${size} ${site} ${mediaType}`);
}

export function decodeNamed(row: Uint8Array): Named {
  return namedFrom(textOf(row), 0);
}

export function encodeLiveTag(tag: NamedTag): Uint8Array {
  return Buffer.from(`${tag.digest} ${tag.size} ${tag.site} ${tag.mediaType}`);
}

export function decodeLiveTag(row: Uint8Array): NamedTag {
  const text = textOf(row);
  const space = text.indexOf(SEPARATOR);
  return { digest: text.slice(0, space) as Digest, ...namedFrom(text, space + 1) };
}

function namedFrom(text: string, start: number): Named {
  const afterSize = text.indexOf(SEPARATOR, start);
  const afterSite = text.indexOf(SEPARATOR, afterSize + 1);
  return {
    size: Number(text.slice(start, afterSize)),
    site: text.slice(afterSize + 1, afterSite),
    mediaType: text.slice(afterSite + 1),
  };
}

export function textOf(row: Uint8Array): string {
  return Buffer.from(row.buffer, row.byteOffset, row.byteLength).toString("utf8");
}

const HEADER_BYTES = 8;
const LIVE = 1;

/** A register's row. The header: one byte of flags, one unused, 6 bytes with the sequence of its last entry in this site's own log (0: none). */
export interface RegisterRow {
  readonly live: boolean;
  readonly sequence: number;
  /** The canonical record. */
  readonly record: Uint8Array;
}

export function encodeRegisterRow({ live, sequence, record }: RegisterRow): Uint8Array {
  const row = Buffer.allocUnsafe(HEADER_BYTES + record.byteLength);
  row.writeUInt8(live ? LIVE : 0, 0);
  row.writeUInt8(0, 1);
  row.writeUIntBE(sequence, 2, 6);
  row.set(record, HEADER_BYTES);
  return row;
}

export function decodeRegisterRow(row: Uint8Array): RegisterRow {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  return { live: isLiveRow(row), sequence: bytes.readUIntBE(2, 6), record: bytes.subarray(HEADER_BYTES) };
}

/** True for the row of a register whose put is alive, without decoding it. */
export function isLiveRow(row: Uint8Array | undefined): boolean {
  return row !== undefined && ((row[0] ?? 0) & LIVE) !== 0;
}
