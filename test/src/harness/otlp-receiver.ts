import { createServer, type IncomingMessage } from "node:http";

/** A span as it arrived, with who sent it. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly site: string;
  readonly service: string;
  /** Its attributes, integers as OTLP writes them in JSON: as text. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Spans of other traces that it says led to it, or that it waited for. */
  readonly links: ReadonlyArray<SpanName>;
}

interface SpanName {
  readonly traceId: string;
  readonly spanId: string;
}

interface OtlpAttribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: string | number };
}

interface OtlpSpan extends SpanName {
  readonly parentSpanId?: string;
  readonly name: string;
  readonly attributes?: readonly OtlpAttribute[];
  readonly links?: readonly SpanName[];
}

interface OtlpBody {
  readonly resourceSpans: ReadonlyArray<{
    readonly resource: { readonly attributes: readonly OtlpAttribute[] };
    readonly scopeSpans: ReadonlyArray<{
      readonly spans: readonly OtlpSpan[];
    }>;
  }>;
}

/** A real receiver of traces: OTLP over HTTP with JSON bodies. */
export class OtlpReceiver implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  readonly #server = createServer((request, response) => {
    void readAll(request).then((body) => {
      this.#take(JSON.parse(body) as OtlpBody);
      response.setHeader("content-type", "application/json");
      response.end("{}");
    });
  });

  static async start(): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver();
    await new Promise<void>((done) => receiver.#server.listen({ host: "127.0.0.1", port: 0 }, done));
    return receiver;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the receiver does not listen");
    return `http://127.0.0.1:${address.port}`;
  }

  trace(traceId: string): ReceivedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId);
  }

  /** The spans of one trace as indented lines, children below their parents: "name [site service]". */
  tree(traceId: string): string[] {
    const own = this.trace(traceId);
    const lines: string[] = [];
    const show = (span: ReceivedSpan, depth: number): void => {
      const linked = span.links.map((link) => ` ~ ${link.traceId.slice(0, 8)}`).join("");
      lines.push(`${"  ".repeat(depth)}${span.name} [${span.site} ${span.service}]${linked}`);
      for (const child of own) if (child.parentSpanId === span.spanId) show(child, depth + 1);
    };
    for (const span of own) if (!own.some((other) => other.spanId === span.parentSpanId)) show(span, 0);
    return lines;
  }

  /** Names from a span up to the root of its trace, the span first. */
  ancestry(span: ReceivedSpan): string[] {
    const parent = this.spans.find((one) => one.traceId === span.traceId && one.spanId === span.parentSpanId);
    const name = `${span.name} [${span.site} ${span.service}]`;
    return parent === undefined ? [name] : [name, ...this.ancestry(parent)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  #take({ resourceSpans }: OtlpBody): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const sender = asRecord(resource.attributes);
      for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
        const { traceId, spanId, parentSpanId = "", name, links = [] } = span;
        this.spans.push({
          ...{ traceId, spanId, parentSpanId, name, links },
          attributes: asRecord(span.attributes ?? []),
          site: sender["meridian.site"] ?? "",
          service: sender["service.name"] ?? "",
        });
      }
    }
  }
}

function asRecord(attributes: readonly OtlpAttribute[]): Record<string, string> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, String(value.stringValue ?? value.intValue ?? "")]),
  );
}

async function readAll(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}
