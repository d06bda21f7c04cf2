import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, makeImage, type OciClient } from "./harness/oci-client.ts";
import { OtlpReceiver } from "./harness/otlp-receiver.ts";
import { needs } from "./harness/programs.ts";
import { until } from "./harness/until.ts";

describe("one pull is one trace, over gateway, blob node and link", { skip: needs("nats-server") }, () => {
  let receiver: OtlpReceiver;
  let cluster: DevProcess;
  const at = (site: string): OciClient => cluster.at(site);
  const image = makeImage(300_000);
  const layer = image.layers[0] ?? Buffer.alloc(0);

  before(async () => {
    receiver = await OtlpReceiver.start();
    cluster = await DevProcess.start("--nats", "--otlp", receiver.url);
  });
  after(async () => {
    await cluster[Symbol.asyncDispose]();
    await receiver[Symbol.asyncDispose]();
  });

  test("a cold pull continues the client's trace through this site's blob node to a holder's", async (context) => {
    // Without its replicator us learns of the image only by asking, and holds none of it.
    assert.equal((await cluster.meridian("process", "stop", "us/replicator-1")).code, 0);
    await at("eu").push("trace/app", "v1", image);
    const traceId = randomBytes(16).toString("hex");
    const headers = { traceparent: `00-${traceId}-${randomBytes(8).toString("hex")}-01` };
    const us = at("us");
    const manifest = await us.call(`/v2/trace/app/manifests/${image.digest}`, { headers });
    assert.equal(manifest.status, 200, manifest.body.toString());
    const blob = await us.call(`/v2/trace/app/blobs/${digestOf(layer)}`, { headers });
    assert.equal(blob.digest, digestOf(layer));
    assert.equal(blob.headers["meridian-route"], "stream");

    const served = await until("the spans have arrived", () => {
      const own = receiver.spans.filter((span) => span.traceId === traceId && span.name === "bytes.serve");
      return own.find((span) => span.site !== "us" && receiver.ancestry(span).at(-1)?.startsWith("pull.blob")) ?? false;
    });
    for (const line of receiver.tree(traceId)) context.diagnostic(line);
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
    const names = new Set(receiver.spans.filter((span) => span.traceId === traceId).map((span) => span.name));
    for (const name of ["pull.manifest", "auth.verify", "policy.decide", "catalog.get", "route.select", "blob.open"]) {
      assert.ok(names.has(name), `no span ${name}`);
    }
  });

  test("a request without a sampled parent begins a trace of its own", async () => {
    const before = new Set(receiver.spans.map((span) => span.traceId));
    await at("eu").pull("trace/app", "v1");
    await until("a new trace", () =>
      receiver.spans.some((span) => span.name === "pull.manifest" && !before.has(span.traceId)),
    );
  });

  test("no log line of any process holds a password or a token", () => {
    const logs = globSync("sites/*/*.log", { cwd: cluster.home });
    assert.ok(logs.length >= 15);
    for (const file of logs) {
      const text = readFileSync(join(cluster.home, file), "utf8");
      assert.ok(!text.includes(cluster.adminPassword), file);
      assert.doesNotMatch(text, /eyJ[A-Za-z0-9_-]{10,}/, file);
    }
  });
});
