import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { digestOf, makeImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { bearerChallenge, RawHttp } from "./harness/raw-http.ts";
import { TracedCluster } from "./harness/traced-cluster.ts";
import { until } from "./harness/until.ts";

const PULL_STEPS = ["auth.verify", "policy.decide", "catalog.get", "route.select", "blob.open"];

describe("one pull is one trace, over gateway, blob node and link", { skip: needs("nats-server") }, () => {
  const traced = new TracedCluster();
  const image = makeImage(300_000);
  const layer = image.layers[0] ?? Buffer.alloc(0);

  before(() => traced.start("--nats", "--log-level", "debug"));
  after(() => traced[Symbol.asyncDispose]());

  test("a cold pull continues the client's trace through this site's blob node to a holder's", async (context) => {
    const { cluster, receiver } = traced;
    // Without its replicator us learns of the image only by asking, and holds none of it.
    assert.equal((await cluster.meridian("process", "stop", "us/replicator-1")).code, 0);
    await traced.at("eu").push("trace/app", "v1", image);
    const client = newParent();
    const us = traced.at("us");
    const manifest = await us.call(`/v2/trace/app/manifests/${image.digest}`, { headers: client.headers });
    assert.equal(manifest.status, 200, manifest.body.toString());
    const blob = await us.call(`/v2/trace/app/blobs/${digestOf(layer)}`, { headers: client.headers });
    assert.equal(blob.digest, digestOf(layer));
    assert.equal(blob.headers["meridian-route"], "stream");

    const served = await until("the spans have arrived", () => {
      const own = receiver.trace(client.traceId).filter((span) => span.name === "bytes.serve");
      return own.find((span) => span.site !== "us" && receiver.ancestry(span).at(-1)?.startsWith("pull.blob")) ?? false;
    });
    traced.draw(client.traceId, context);
    const chain = receiver.ancestry(served).reverse();
    assert.deepEqual(
      chain.slice(0, -1).filter((name) => name !== "blob.open [us gateway]"),
      [
        "pull.blob [us gateway]",
        "bytes.serve [us blob-node]",
        "replicate.blob [us blob-node]",
        "blob.open [us blob-node]",
      ],
    );
    assert.match(chain.at(-1) ?? "", /^bytes\.serve \[(eu|ap) blob-node\]$/);
    assertRequests(traced, client, "gateway");
  });

  test("replication is a trace of its own, linked to the push, from the replicator over both blob nodes", async (context) => {
    // The replicator of us starts again and reads the records with their traces.
    assert.equal((await traced.cluster.meridian("process", "start", "us/replicator-1")).code, 0);
    const pushed = await traced.push("eu", "trace/replicated", makeImage(200_000));
    const fetched = await traced.replicationOf(pushed, "us");
    traced.draw(fetched.traceId, context);
    const chain = traced.receiver.ancestry(fetched).reverse();
    assert.deepEqual(chain.slice(0, -1), [
      "replicate.fetch [us replicator]",
      "meridian.blob.v1.BlobNodeService/Fetch [us replicator]",
      "meridian.blob.v1.BlobNodeService/Fetch [us blob-node]",
      "replicate.blob [us blob-node]",
      "blob.open [us blob-node]",
    ]);
    assert.match(chain.at(-1) ?? "", /^bytes\.serve \[(eu|ap) blob-node\]$/);
  });

  test("a request without a sampled parent begins a trace of its own", async () => {
    const known = new Set(traced.receiver.spans.map((span) => span.traceId));
    await traced.at("eu").pull("trace/app", "v1");
    await until("a new trace", () =>
      traced.receiver.spans.some((span) => span.name === "pull.manifest" && !known.has(span.traceId)),
    );
  });

  test("a parent that is not sampled makes no span", async () => {
    const client = newParent("00");
    const eu = traced.at("eu");
    assert.equal((await eu.call("/v2/trace/app/manifests/v1", { headers: client.headers })).status, 200);
    const later = newParent();
    await eu.call("/v2/trace/app/manifests/v1", { headers: later.headers });
    await until("a later span", () => traced.receiver.trace(later.traceId).length > 0);
    assert.deepEqual(traced.receiver.trace(client.traceId), []);
  });

  test("no log line of any process holds a password, a token or a key, at level debug", () =>
    assertNoSecretInLogs(traced, 15));
});

describe("traces of sites that are one process each, on the embedded log", () => {
  const traced = new TracedCluster();

  before(() => traced.start("--sites", "eu,us", "--links", "--log-level", "debug"));
  after(() => traced[Symbol.asyncDispose]());

  test("replication is linked to the push; a pull that waits for it is linked to the replication", async (context) => {
    // Slow enough for the pull to come while the layer arrives.
    assert.equal((await traced.cluster.meridian("link", "limit", "eu-us", "300KB")).code, 0);
    const image = makeImage(2_500_000);
    const pushed = await traced.push("eu", "trace/app", image);
    const us = traced.at("us");
    const client = newParent();
    await until("us has begun to fetch", async () => {
      const link = traced.cluster.run.links.find(({ from, to }) => from === "eu" && to === "us");
      return (link?.bytes ?? 0) > 100_000;
    });
    const manifest = await us.call(`/v2/trace/app/manifests/${image.digest}`, { headers: client.headers });
    assert.equal(manifest.status, 200);
    const layer = digestOf(image.layers[0] ?? Buffer.alloc(0));
    const blob = await us.call(`/v2/trace/app/blobs/${layer}`, { headers: client.headers });
    assert.equal(blob.digest, layer);
    assert.equal(blob.headers["meridian-route"], "stream");

    const served = await traced.replicationOf(pushed, "us", client.traceId);
    traced.draw(client.traceId, context);
    traced.draw(served.traceId, context);
    assert.deepEqual(traced.receiver.ancestry(served).reverse(), [
      "replicate.fetch [us site]",
      "replicate.blob [us site]",
      "blob.open [us site]",
      "bytes.serve [eu site]",
    ]);
    assertRequests(traced, client, "site");
  });

  test("no log line of any process holds a password, a token or a key, at level debug", () =>
    assertNoSecretInLogs(traced, 2));
});

interface Parent {
  readonly traceId: string;
  readonly spanId: string;
  readonly headers: { readonly traceparent: string };
}

/** A client's own span, as it sends it (W3C Trace Context). */
function newParent(flags = "01"): Parent {
  const [traceId, spanId] = [randomBytes(16).toString("hex"), randomBytes(8).toString("hex")];
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-${flags}` } };
}

/** Each of the client's requests is a child of its span, and the steps of the last ones are children of those. */
function assertRequests({ receiver }: TracedCluster, client: Parent, service: string): void {
  const own = receiver.trace(client.traceId);
  for (const name of ["pull.manifest", "pull.blob"]) {
    const request = own.findLast((span) => span.name === name);
    assert.ok(request, `no span ${name}`);
    assert.equal(request.parentSpanId, client.spanId);
    assert.deepEqual([request.site, request.service], ["us", service]);
    const steps = new Set(own.filter((span) => span.parentSpanId === request.spanId).map((span) => span.name));
    for (const step of PULL_STEPS) assert.ok(steps.has(step), `${name} has no span ${step}`);
  }
  const requests = own.filter((span) => span.parentSpanId === client.spanId);
  assert.ok(requests.every((span) => span.name.startsWith("pull.")));
}

/** Logs in every way there is, rightly and wrongly, and looks for what must not be in any log. */
async function assertNoSecretInLogs({ cluster }: TracedCluster, processes: number): Promise<void> {
  const typed = `typed-${randomBytes(12).toString("hex")}`;
  const kept: string[] = [cluster.adminPassword, typed];
  using eu = new RawHttp(cluster.gateway("eu"), cluster.ca);
  const service = String(bearerChallenge(await eu.ask("GET", "/v2/")).service);
  const query = `/token?service=${service}&account=admin&offline_token=true&scope=repository:trace/app:pull`;
  const login = (password: string) =>
    eu.ask("GET", query, {
      headers: { authorization: `Basic ${Buffer.from(`admin:${password}`).toString("base64")}` },
    });
  assert.equal((await login(typed)).status, 401);
  const { token, refresh_token: refresh } = (await login(cluster.adminPassword)).json<Record<string, string>>();
  assert.ok(token && refresh);
  kept.push(token, refresh);
  const form = { grant_type: "refresh_token", service, client_id: "docker", refresh_token: refresh };
  for (const asked of [form, { ...form, refresh_token: `${refresh.slice(0, -4)}AAAA` }]) {
    await eu.ask("POST", "/token", {
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: new URLSearchParams(asked).toString(),
    });
  }
  for (const bearer of [token, `${token.slice(0, -4)}AAAA`])
    await eu.ask("GET", "/v2/trace/app/manifests/none", { headers: { authorization: `Bearer ${bearer}` } });
  for (const file of globSync("sites/*/secrets.yaml", { cwd: cluster.home })) {
    const text = readFileSync(join(cluster.home, file), "utf8");
    const values = [...text.matchAll(/: *"?([^"\n]{16,})/g)].map(([, value]) => String(value));
    assert.ok(values.length >= 2, `${file} has ${values.length} secrets`);
    kept.push(...values);
  }
  kept.push(readFileSync(join(cluster.home, "admin-password.hash"), "utf8").trim());
  const basic = Buffer.from(`admin:${cluster.adminPassword}`).toString("base64");
  kept.push(basic, basic.slice(0, -4));

  const logs = globSync("sites/*/*.log", { cwd: cluster.home });
  assert.ok(logs.length >= processes, `${logs.length} logs`);
  for (const file of logs.map((name) => join(cluster.home, name))) {
    const text = readFileSync(file, "utf8");
    for (const secret of kept) assert.ok(!text.includes(secret), `${file} holds a secret`);
    assert.doesNotMatch(text, /eyJ[A-Za-z0-9_-]{10,}/, file);
    assert.doesNotMatch(text, /PRIVATE KEY/, file);
  }
  for (const secret of kept) assert.ok(!cluster.output.includes(secret), "the supervisor printed a secret");
}
