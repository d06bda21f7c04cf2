import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { newsV1 } from "@meridian/wire";
import { cursorMessage, cursorOfMessage } from "../cursor.ts";
import type { Incarnation, LogEntry } from "../event-log.ts";

const FORMAT = 1;

/** What a writer tells of a stream: entries, and the life of the stream that it writes to. */
export interface News {
  readonly incarnation: Incarnation;
  readonly entries: readonly LogEntry[];
}

/** News as `meridian.news.v1.News`, binary. */
export function encodeNews({ incarnation, entries }: News): Uint8Array {
  const news = create(newsV1.NewsSchema, {
    format: FORMAT,
    incarnation: { created: incarnation.created, id: incarnation.id },
    entries: entries.map(({ sequence, subject, payload, traceparent = "", origin }) => ({
      sequence: BigInt(sequence),
      subject,
      payload,
      traceparent,
      ...(origin && { origin: cursorMessage(origin) }),
    })),
  });
  return toBinary(newsV1.NewsSchema, news);
}

/** The reverse of {@link encodeNews}, sharing no memory with `bytes`; undefined for what this version cannot read. */
export function decodeNews(bytes: Uint8Array): News | undefined {
  try {
    // A copy: the client hands out slices of its read buffer.
    const news = fromBinary(newsV1.NewsSchema, Uint8Array.prototype.slice.call(bytes));
    if (news.format !== FORMAT || news.incarnation === undefined) {
      return undefined;
    }
    const { created, id } = news.incarnation;
    return { incarnation: { created, id }, entries: news.entries.map(toEntry) };
  } catch {
    return undefined;
  }
}

function toEntry({ sequence, subject, payload, traceparent, origin }: newsV1.Entry): LogEntry {
  return {
    sequence: Number(sequence),
    subject,
    payload,
    ...(traceparent !== "" && { traceparent }),
    ...(origin && { origin: cursorOfMessage(origin) }),
  };
}
