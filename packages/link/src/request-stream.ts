import type { MessageInitShape } from "@bufbuild/protobuf";
import type { linkV1 } from "@meridian/wire";

type TailRequest = MessageInitShape<typeof linkV1.TailRequestSchema>;
type Hello = MessageInitShape<typeof linkV1.HelloSchema>;
type Report = MessageInitShape<typeof linkV1.ReportSchema>;

/** What a reader sends: its Hello, then reports. A report that could not be sent yet is replaced by a newer one. */
export class RequestStream implements AsyncIterable<TailRequest> {
  readonly #hello: Hello;
  #report: Report | undefined;
  #ended = false;
  #wake: () => void = () => {};

  constructor(hello: Hello) {
    this.#hello = hello;
  }

  report(report: Report): void {
    this.#report = report;
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TailRequest, void> {
    yield { message: { case: "hello", value: this.#hello } };
    while (!this.#ended) {
      const report = this.#report;
      this.#report = undefined;
      if (report !== undefined) yield { message: { case: "report", value: report } };
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
