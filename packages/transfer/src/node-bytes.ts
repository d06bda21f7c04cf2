import type { Digest } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "@meridian/storage";

/** Bytes from `start` (inclusive) to `end` (exclusive); absent: to the end of the blob, whatever its size. */
export interface OpenSpan {
  readonly start: number;
  readonly end?: number;
}

/** How a blob is asked for. */
export interface ReadOptions {
  /** Nodes, as site/node, that may hold the blob, nearest first: where the asked node fetches it from when it has none. Empty: answer only from its own store. */
  readonly holders: readonly string[];
  /** Expected size in bytes, when known: a hint for scheduling. */
  readonly size?: number;
  /**
   * What will be read first, so that a remote node begins to send it together with its answer (one request in all).
   * Absent: the whole blob. An empty span asks only for the size: nothing is sent, nothing is fetched.
   */
  readonly span?: OpenSpan;
  /**
   * The reader may be sent to the bytes instead, by a URL that holds for so many milliseconds at most; a node whose store
   * gives such URLs then answers with one ({@link ServedBlob.link}), and sends bytes only when they are read all the same.
   */
  readonly linkForMs?: number;
  /** Ends the opening; a blob that is open already is not affected. */
  readonly signal?: AbortSignal;
}

/** A blob that can be sent now: from the node's own store, or as it arrives from a holder. */
export interface ServedBlob extends AsyncDisposable {
  readonly size: number;
  /** site/node whose disk the bytes come from. */
  readonly servedBy: string;
  /** "local": stored at the asked node; "stream": crosses a link while it is read. */
  readonly route: "local" | "stream";
  /** The whole content when it is in memory anyway. */
  readonly bytes?: Uint8Array;
  /** By which anybody may read the stored blob, in ranges too, for as long as was asked for. Absent: only from here. */
  readonly link?: string;
  /**
   * Sends the span in order. A holder that dies or stalls is replaced inside the call; the last piece of a blob that is
   * still arriving is held back until its hash is right.
   * @throws ContentError `unavailable` when no holder is left, `digest-mismatch`, `invalid-range`.
   */
  read(span: ByteSpan, sink: ByteSink, options?: { signal?: AbortSignal }): Promise<void>;
}

/** How a body is appended. */
export interface AppendOptions {
  /** Where the body starts; absent: at the last acknowledged offset. */
  readonly offset?: number;
  /**
   * The body is the upload's last and a commit follows: it is neither synced nor acknowledged by itself, so that a
   * request that is repeated because its answer was lost brings the same bytes to the same place.
   */
  readonly final?: boolean;
  /** True when nobody else looks at the body's chunks: a chunk's memory may be given back as soon as it is written. */
  readonly owned?: boolean;
  readonly signal?: AbortSignal;
}

/** The bytes of one blob node: in process, or over HTTPS. */
export interface NodeBytes {
  /**
   * The content when it is in this process's memory, without waiting; undefined says nothing about the node. Never to
   * be written to. Absent: the node is another process.
   */
  cached?(digest: Digest): Uint8Array | undefined;
  /** Undefined when neither the node nor any of the holders has it. @throws ContentError `unavailable` when a holder could not be asked. */
  open(digest: Digest, options: ReadOptions): Promise<ServedBlob | undefined>;
  /**
   * Appends a body to an upload that BeginUpload made. `offset`: where the body starts; absent: at the last acknowledged
   * offset (bytes beyond are taken again). Fences an older writer. Resolves with the new acknowledged (synced) offset; with `final`, with what was received.
   * @throws ContentError `invalid-range` when the offset is not the acknowledged one, `not-found`, `no-space`, `fenced`.
   */
  append(
    uploadId: string,
    body: AsyncIterable<Uint8Array>,
    options: AppendOptions,
  ): Promise<{ readonly offset: number }>;
}
