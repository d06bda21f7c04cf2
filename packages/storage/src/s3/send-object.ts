import type { IncomingMessage } from "node:http";
import { ContentError } from "@meridian/oci";
import { unlessAborted } from "../abort.ts";
import type { ByteSink, ByteSpan } from "../blob-store.ts";
import type { S3Bucket } from "./s3-bucket.ts";

/** What is sent to whom. */
export interface SendObjectOptions {
  readonly bucket: S3Bucket;
  readonly key: string;
  readonly span: ByteSpan;
  readonly sink: ByteSink;
  /** For messages: "read a blob". */
  readonly doing: string;
  readonly signal?: AbortSignal;
}

/** The object has fewer bytes than were asked for. */
export class ShorterObject extends ContentError {}

/** A failure of the sink is the caller's to see, not one of the bucket to be tried again. */
class SinkFailure {
  readonly error: unknown;

  constructor(error: unknown) {
    this.error = error;
  }
}

/** Sends a span of an object. A connection that breaks is opened again from where it broke. */
export async function sendObject(options: SendObjectOptions): Promise<void> {
  const { bucket, span, doing, signal } = options;
  let at = span.start;
  const advance = (bytes: number): void => {
    at += bytes;
  };
  if (span.start === span.end) return;
  try {
    await bucket.reading(() => sendFrom(options, at, advance), { doing, signal, progress: () => at });
  } catch (error) {
    signal?.throwIfAborted();
    const { cause } = error as { cause?: unknown };
    throw cause instanceof SinkFailure ? cause.error : error;
  }
}

async function sendFrom(
  { bucket, key, span, sink, signal }: SendObjectOptions,
  start: number,
  advance: (bytes: number) => void,
): Promise<void> {
  signal?.throwIfAborted();
  // Everything came before the connection broke.
  if (start === span.end) return;
  const wanted = span.end - start;
  const response = await bucket.open(key, { start, end: span.end });
  try {
    requireLength(response, wanted);
    for await (const chunk of response as AsyncIterable<Buffer>) {
      advance(chunk.length);
      await toSink(sink, chunk, signal);
    }
  } finally {
    response.destroy();
  }
}

/** An object that has become shorter is another one. */
function requireLength(response: IncomingMessage, wanted: number): void {
  const length = Number(response.headers["content-length"]);
  if (length === wanted) return;
  throw new ShorterObject("digest-mismatch", `the bucket sends ${length} bytes instead of ${wanted}`);
}

async function toSink(sink: ByteSink, chunk: Buffer, signal: AbortSignal | undefined): Promise<void> {
  try {
    const writing = sink.write(chunk);
    if (writing !== undefined) await unlessAborted(writing, signal);
    signal?.throwIfAborted();
  } catch (error) {
    throw new SinkFailure(error);
  }
}
