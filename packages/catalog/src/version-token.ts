import { compareIncarnations, type Incarnation } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";

/** A place in the log of one site, as every member counts it. */
export interface Position {
  readonly incarnation: Incarnation;
  readonly sequence: number;
}

/** Site → the last record of its log. */
export type VersionVector = ReadonlyMap<string, Position>;

const FORMAT = 1;
const MAX_TOKEN_LENGTH = 8_192;

/** Writes a vector as a `Meridian-Version` token: base64url of `[1, [site, created in hex, incarnation, sequence] …]`. */
export function formatVersion(vector: VersionVector): string {
  const rows = [...vector]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([site, { incarnation, sequence }]) => [site, incarnation.created.toString(16), incarnation.id, sequence]);
  return Buffer.from(JSON.stringify([FORMAT, ...rows])).toString("base64url");
}

/** @throws ContentError `invalid` when the text is no token of this format. */
export function parseVersion(token: string): VersionVector {
  if (token.length > MAX_TOKEN_LENGTH || !/^[A-Za-z0-9_-]+$/.test(token)) {
    throw malformed();
  }
  let rows: unknown;
  try {
    rows = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
  } catch (cause) {
    throw malformed(cause);
  }
  if (!Array.isArray(rows) || rows[0] !== FORMAT) {
    throw malformed();
  }
  const vector = new Map(rows.slice(1).map(parseRow));
  // Only what was written here: other spellings of the same vector could grow beyond every bound when they are written again.
  if (formatVersion(vector) !== token) {
    throw malformed();
  }
  return vector;
}

/** The least vector that is at or beyond all of them, as a token. @throws ContentError `invalid`. */
export function joinVersions(tokens: readonly string[]): string {
  const joined = new Map<string, Position>();
  for (const token of tokens) {
    for (const [site, position] of parseVersion(token)) {
      const known = joined.get(site);
      if (known === undefined || isBefore(known, position)) joined.set(site, position);
    }
  }
  return formatVersion(joined);
}

function isBefore(a: Position, b: Position): boolean {
  return (compareIncarnations(a.incarnation, b.incarnation) || a.sequence - b.sequence) < 0;
}

function parseRow(row: unknown): [string, Position] {
  const [site, created, id, sequence] = Array.isArray(row) ? (row as unknown[]) : [];
  const valid =
    typeof site === "string" &&
    typeof created === "string" &&
    /^[0-9a-f]{1,16}$/.test(created) &&
    typeof id === "string" &&
    typeof sequence === "number" &&
    Number.isSafeInteger(sequence) &&
    sequence >= 0;
  if (!valid) {
    throw malformed();
  }
  return [site, { incarnation: { created: BigInt(`0x${created}`), id }, sequence }];
}

function malformed(cause?: unknown): ContentError {
  return new ContentError("invalid", "this is not a version token", { cause });
}
