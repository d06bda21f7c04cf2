import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { startTelemetry, type TelemetryOptions } from "@meridian/runtime";
import { SpanStatusCode } from "@opentelemetry/api";
import { adminOf, ask } from "./http-client.fixture.ts";
import { startTestCluster } from "./test-cluster.fixture.ts";

type Exporter = NonNullable<TelemetryOptions["exporter"]>;
type Span = Parameters<Exporter["export"]>[0][number];

const who = { service: "gateway", site: "eu", process: "gateway-1", version: "0.0.0" };
const SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const ended: Span[] = [];
const exporter: Exporter = {
  export(spans, done) {
    ended.push(...spans);
    done({ code: 0 });
  },
  shutdown: async () => undefined,
};

test("one pull is one trace, from the token to the blob node; health checks are none, a challenge is no error", async () => {
  const telemetry = await startTelemetry({ ...who, sampleRatio: 0, exporter });
  await using cluster = await startTestCluster();
  const admin = adminOf(cluster.site, "team/app");
  const { layer } = await admin.pushImage("v1", randomBytes(1000));
  await admin.get("/manifests/v1", { traceparent: SAMPLED });
  await admin.get(`/blobs/${layer}`, { traceparent: SAMPLED });
  await admin.get(`/blobs/${layer}`);
  const { url } = cluster.site.gateway;
  for (const path of ["/livez", "/readyz"]) await ask(url, "GET", path, { headers: { traceparent: SAMPLED } });
  const challenged = await ask(url, "GET", "/v2/team/app/tags/list", { headers: { traceparent: SAMPLED } });
  assert.equal(challenged.status, 401);
  const mount = `/blobs/uploads/?mount=${layer}&from=team/app`;
  assert.equal((await admin.call("POST", mount, { headers: { traceparent: SAMPLED } })).status, 201);
  await telemetry.shutdown();

  assert.deepEqual(tree(ended, "pull.manifest"), ["auth.verify", "catalog.get", "policy.decide"]);
  assert.deepEqual(tree(ended, "pull.blob"), [
    "auth.verify",
    "blob.open",
    "catalog.get",
    "policy.decide",
    "route.select",
  ]);
  assert.deepEqual(tree(ended, "get.tags"), ["auth.verify", "policy.decide"]);
  assert.deepEqual([...new Set(ended.map(({ status }) => status.code))], [SpanStatusCode.UNSET]);
  assert.deepEqual(
    ended.filter(({ name }) => /livez|readyz/.test(name)),
    [],
  );
  assert.ok(tree(ended, "push.blob").includes("mount.blob"));
  assert.ok(ended.every((span) => span.spanContext().traceId === SAMPLED.slice(3, 35)));
});

/** Names of the spans right below the one span of this name. */
function tree(spans: readonly Span[], name: string): string[] {
  const roots = spans.filter((span) => span.name === name);
  assert.equal(roots.length, 1, `${roots.length} spans ${name}`);
  const id = roots[0]!.spanContext().spanId;
  return spans
    .filter(({ parentSpanContext }) => parentSpanContext?.spanId === id)
    .map((span) => span.name)
    .sort();
}
