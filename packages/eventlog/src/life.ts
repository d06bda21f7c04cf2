import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { compareIncarnations } from "./cursor.ts";
import type { Incarnation, LogEntry } from "./event-log.ts";
import { subjectPrefix } from "./stream-name.ts";

/** Earlier lives that a life remembers; the newest of them. Each is a log that was lost. */
const MAX_EARLIER = 100;

/** The subject space of what a log says of its own lives, ending in a dot: `m.<site>.life.<id of the incarnation>`. */
export function lifePrefix(stream: string): string {
  return `${subjectPrefix(stream)}life.`;
}

/** The subject on which a log says how one of its lives stands. */
export function lifeSubject(stream: string, { id }: Incarnation): string {
  return lifePrefix(stream) + id;
}

/** What a log says of one of its lives: the entry's payload. The fields as `meridian.record.v1.Life` explains them. */
export function encodeLife(
  site: string,
  incarnation: Incarnation,
  life: Partial<Omit<recordV1.Life, "$typeName" | "$unknown" | "format" | "site" | "created" | "id">>,
): Uint8Array {
  const earlier = [...(life.earlier ?? [])]
    .sort((a, b) => (a.created < b.created ? 1 : a.created > b.created ? -1 : 0))
    .slice(0, MAX_EARLIER);
  return toBinary(
    recordV1.LifeSchema,
    create(recordV1.LifeSchema, {
      ...life,
      earlier,
      format: 1,
      site,
      created: incarnation.created,
      id: incarnation.id,
    }),
  );
}

/** The reverse of {@link encodeLife}. @throws ContentError `invalid`. */
export function decodeLife(payload: Uint8Array): recordV1.Life {
  let life: recordV1.Life;
  try {
    life = fromBinary(recordV1.LifeSchema, payload);
  } catch (cause) {
    throw new ContentError(ContentErrorKind.invalid, "no record of a log's life", { cause });
  }
  if (life.format !== 1 || life.id === "" || life.earlier.length > MAX_EARLIER) {
    throw new ContentError(ContentErrorKind.invalid, "a malformed record of a log's life");
  }
  return life;
}

/** True for an entry by which its log says that it has begun another life, later than `incarnation`. */
export function beginsLaterLife(
  stream: string,
  { subject, payload }: Pick<LogEntry, "subject" | "payload">,
  incarnation: Incarnation,
): boolean {
  if (!subject.startsWith(lifePrefix(stream))) {
    return false;
  }
  try {
    return compareIncarnations(decodeLife(payload), incarnation) > 0;
  } catch {
    // What a later version writes is not for this one to understand.
    return false;
  }
}
