import type { TestContext } from "node:test";
import { DevProcess } from "./dev-process.ts";
import { OciClient, type TestImage } from "./oci-client.ts";
import { OtlpReceiver, type ReceivedSpan } from "./otlp-receiver.ts";
import { until } from "./until.ts";

/** A dev cluster that sends its traces to a receiver of its own. */
export class TracedCluster implements AsyncDisposable {
  #receiver: OtlpReceiver | undefined;
  #cluster: DevProcess | undefined;
  readonly #clients: OciClient[] = [];

  get receiver(): OtlpReceiver {
    if (this.#receiver === undefined) throw new Error("not started");
    return this.#receiver;
  }

  get cluster(): DevProcess {
    if (this.#cluster === undefined) throw new Error("not started");
    return this.#cluster;
  }

  async start(...args: string[]): Promise<void> {
    this.#receiver = await OtlpReceiver.start();
    this.#cluster = await DevProcess.start(...args, "--otlp", this.#receiver.url);
  }

  at(site: string): OciClient {
    const { ca, adminPassword: password } = this.cluster;
    const client = new OciClient(this.cluster.gateway(site), { ca, password });
    this.#clients.push(client);
    return client;
  }

  /** Pushes an image; resolves with the traces of its requests once they are known. */
  async push(site: string, repository: string, image: TestImage): Promise<ReadonlySet<string>> {
    const known = new Set(this.receiver.spans.map((span) => span.traceId));
    await this.at(site).push(repository, "v1", image);
    const isNew = (span: ReceivedSpan): boolean => !known.has(span.traceId) && span.site === site;
    await until("the spans of the push", () =>
      this.receiver.spans.some((span) => span.name === "push.manifest" && isNew(span)),
    );
    const requests = this.receiver.spans.filter((span) => span.name.startsWith("push.") && isNew(span));
    return new Set(requests.map((span) => span.traceId));
  }

  /**
   * The other site's part in a fetch by `site` that is linked to one of these pushes. With `waiter`, the fetch must be one
   * that a span of that trace is linked to.
   */
  replicationOf(pushes: ReadonlySet<string>, site: string, waiter?: string): Promise<ReceivedSpan> {
    const { receiver } = this;
    return until(`a replication to ${site} that is linked to its push`, () => {
      const waitedFor = waiter === undefined ? [] : receiver.trace(waiter).flatMap((span) => span.links);
      const fetches = receiver.spans.filter(
        (span) =>
          span.name === "replicate.fetch" &&
          span.site === site &&
          span.links.some((link) => pushes.has(link.traceId)) &&
          (waiter === undefined || waitedFor.some((link) => link.traceId === span.traceId)),
      );
      const served = fetches.flatMap((fetch) => receiver.trace(fetch.traceId));
      return served.find((span) => span.name === "bytes.serve" && span.site !== site) ?? false;
    });
  }

  /** Prints the trace into the test's report. */
  draw(traceId: string, context: TestContext): void {
    context.diagnostic(`trace ${traceId.slice(0, 8)}`);
    for (const line of this.receiver.tree(traceId)) context.diagnostic(line);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client[Symbol.dispose]();
    await this.#cluster?.[Symbol.asyncDispose]();
    await this.#receiver?.[Symbol.asyncDispose]();
  }
}
