import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, it } from "node:test";
import { context, metrics, propagation, trace } from "@opentelemetry/api";
import { InMemorySpanExporter } from "@opentelemetry/sdk-trace";
import { createLogger } from "./create-logger.ts";
import { createManualTime } from "./manual-time.ts";
import { startTelemetry, type Telemetry, type TelemetryOptions } from "./telemetry.ts";
import { contextFromTraceparent, startServerSpan, traceparentOf, withSpan } from "./tracing.ts";

const SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const who = { service: "gateway", site: "eu", process: "gateway-1", version: "0.1.0" };

describe("telemetry", () => {
  let telemetry: Telemetry | undefined;
  let exporter: InMemorySpanExporter;

  async function start(options: Partial<TelemetryOptions> = {}): Promise<ReturnType<typeof trace.getTracer>> {
    telemetry = await startTelemetry({ ...who, sampleRatio: 1, ...options });
    return trace.getTracer("test");
  }
  function startTracing(options: Partial<TelemetryOptions> = {}): Promise<ReturnType<typeof trace.getTracer>> {
    exporter = new InMemorySpanExporter();
    return start({ exporter, ...options });
  }
  async function spans() {
    // Shutting down flushes; the in-memory exporter forgets its spans on shutdown unless they are taken before.
    const taken: ReturnType<typeof exporter.getFinishedSpans> = [];
    exporter.shutdown = async () => void taken.push(...exporter.getFinishedSpans());
    await telemetry?.shutdown();
    return taken;
  }
  afterEach(() => telemetry?.shutdown());

  it("makes one trace of a request, with its children and attributes", async () => {
    const tracer = await startTracing();
    const server = startServerSpan(tracer, "pull.blob", { attributes: { "http.request.method": "GET" } });
    await server?.run(() =>
      withSpan(tracer, "blob.open", {}, async (span) => span.setAttribute("meridian.attempt", 1)),
    );
    server?.end();
    const [child, parent] = await spans();
    assert.deepEqual([child?.name, parent?.name], ["blob.open", "pull.blob"]);
    assert.equal(child?.spanContext().traceId, parent?.spanContext().traceId);
    assert.equal(child?.parentSpanContext?.spanId, parent?.spanContext().spanId);
    assert.equal(parent?.resource.attributes["service.instance.id"], "eu/gateway-1");
    assert.equal(parent?.attributes["http.request.method"], "GET");
  });

  it("decides by the ratio before making a span, and by the caller's flag when there is one", async () => {
    const chances = [0.005, 0.01, 0.9];
    const random = { next: () => chances.shift() ?? 1, bytes: () => new Uint8Array() };
    const tracer = await startTracing({ sampleRatio: 0.01, random });
    const decided = [1, 2, 3].map((_) => startServerSpan(tracer, "pull", {}) !== undefined);
    assert.deepEqual(decided, [true, false, false]);
    const continued = startServerSpan(tracer, "pull", { traceparent: SAMPLED });
    assert.equal(continued?.span.spanContext().traceId, "0af7651916cd43dd8448eb211c80319c");
    assert.equal(startServerSpan(tracer, "pull", { traceparent: UNSAMPLED }), undefined);
    continued?.end();
    assert.equal((await spans()).length, 1);
  });

  it("makes no span outside a sampled trace, but one that links to a sampled trace", async () => {
    const tracer = await startTracing();
    assert.equal(await withSpan(tracer, "replicate.blob", {}, (span) => span.isRecording()), false);
    const write = trace.getSpanContext(contextFromTraceparent(SAMPLED));
    assert.ok(write !== undefined);
    const recorded = await withSpan(tracer, "replicate.blob", { links: [{ context: write }] }, (span) =>
      span.isRecording(),
    );
    assert.equal(recorded, true);
    const [span, ...others] = await spans();
    assert.equal(others.length, 0);
    assert.equal(span?.links[0]?.context.spanId, "b7ad6b7169203331");
    assert.notEqual(span?.spanContext().traceId, write.traceId);
  });

  it("ends a span with the error of its work", async () => {
    const tracer = await startTracing();
    const parent = contextFromTraceparent(SAMPLED);
    const failing = withSpan(tracer, "blob.open", { parent }, () => Promise.reject(new TypeError("gone")));
    await assert.rejects(failing, { message: "gone" });
    const [span] = await spans();
    assert.equal(span?.attributes["error.type"], "TypeError");
    assert.equal(span?.status.message, "gone");
  });

  it("passes a caller's trace through without an exporter, and makes none of its own", async () => {
    const tracer = await start();
    assert.equal(startServerSpan(tracer, "pull", {}), undefined);
    const through = startServerSpan(tracer, "pull", { traceparent: SAMPLED });
    const carrier: Record<string, string> = {};
    await through?.run(async () => {
      await Promise.resolve();
      propagation.inject(context.active(), carrier);
      assert.equal(traceparentOf(), SAMPLED);
    });
    assert.equal(carrier.traceparent, SAMPLED);
  });

  it("reads and writes traceparent as the W3C says", () => {
    assert.equal(traceparentOf(contextFromTraceparent(SAMPLED)), SAMPLED);
    assert.equal(traceparentOf(contextFromTraceparent(`${SAMPLED.replace(/^00/, "01")}-more`)), SAMPLED);
    assert.equal(traceparentOf(contextFromTraceparent(UNSAMPLED)), undefined);
    const malformed = [
      undefined,
      "",
      "x",
      `${SAMPLED}-more`,
      SAMPLED.replace(/^00/, "ff"),
      SAMPLED.replace("0af7651916cd43dd8448eb211c80319c", "0".repeat(32)),
    ];
    for (const text of malformed)
      assert.equal(trace.getSpanContext(contextFromTraceparent(text)), undefined, String(text));
  });

  it("writes trace and span of the active span to the log", async () => {
    await start();
    const lines: string[] = [];
    const log = createLogger({ level: "info", write: (line) => lines.push(line) });
    context.with(contextFromTraceparent(SAMPLED), () => log.info("inside"));
    assert.match(String(lines[0]), /"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"/);
  });

  it("gives all metrics as Prometheus text", async () => {
    await start();
    const pulls = metrics.getMeter("test").createCounter("meridian.pulls", { description: "Pulls answered" });
    pulls.add(3, { outcome: "ok" });
    const text = String(await telemetry?.metricsText());
    assert.match(text, /meridian_pulls_total\{outcome="ok".*\} 3/);
    assert.match(text, /target_info\{.*service_name="gateway"/);
  });

  it("sends spans to an OTLP receiver", async () => {
    const paths: string[] = [];
    const receiver = createServer((request, response) => {
      paths.push(String(request.url));
      request.resume().on("end", () => response.end("{}"));
    });
    await new Promise<void>((resolve) => void receiver.listen(0, "127.0.0.1", resolve));
    const { port } = receiver.address() as AddressInfo;
    const tracer = await start({ otlpUrl: `http://127.0.0.1:${port}` });
    startServerSpan(tracer, "pull", {})?.end();
    await telemetry?.shutdown();
    receiver.closeAllConnections();
    receiver.close();
    assert.deepEqual(paths, ["/v1/traces"]);
  });

  it("shuts down after 2 s when the receiver does not answer", async () => {
    const { timers, advance } = createManualTime(0);
    const tracer = await start({ otlpUrl: "http://127.0.0.1:9", timers });
    startServerSpan(tracer, "pull", {})?.end();
    const shutdown = telemetry?.shutdown();
    await advance(2_000);
    await shutdown;
  });
});
