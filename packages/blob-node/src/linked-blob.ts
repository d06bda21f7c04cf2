import { ContentError } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import type { ServedBlob } from "@meridian/transfer";

/** A stored blob that its reader may fetch elsewhere, and which is opened here only when it is read here all the same. */
export class LinkedBlob implements ServedBlob {
  readonly size: number;
  readonly servedBy: string;
  readonly route = "local";
  readonly link: string;
  readonly #open: () => Promise<ServedBlob | undefined>;

  constructor(
    { size, servedBy, link }: Required<Pick<ServedBlob, "size" | "servedBy" | "link">>,
    open: () => Promise<ServedBlob | undefined>,
  ) {
    this.size = size;
    this.servedBy = servedBy;
    this.link = link;
    this.#open = open;
  }

  async read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal } = {}): Promise<void> {
    await using blob = await this.#open();
    if (blob === undefined) throw new ContentError("unavailable", "the blob was deleted before it was read");
    await blob.read(span, sink, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
