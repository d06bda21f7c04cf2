import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { type Answer, digestOf, MANIFEST_TYPE, makeImage, OciClient, type TestImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { command } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

const WRITERS = 4;
const PUSHES = Number(process.env.MERIDIAN_TEST_PUSHES ?? 6);

describe("a site with two gateways and its nats-server", { skip: needs("nats-server") }, () => {
  /** Everything that was answered 201, by tag. */
  const answered = new Map<string, TestImage>();
  let cluster: DevProcess;
  let gateways: [OciClient, OciClient];

  const push = async (client: OciClient, tag: string): Promise<TestImage> => {
    const image = makeImage(20_000);
    await client.push("pair/app", tag, image);
    answered.set(tag, image);
    return image;
  };
  const digestAt = async (client: OciClient, tag: string): Promise<string | undefined> => {
    const answer = await client.call(`/v2/pair/app/manifests/${tag}`, {
      method: "HEAD",
      headers: { accept: MANIFEST_TYPE },
    });
    return answer.status === 200 ? String(answer.headers["docker-content-digest"]) : undefined;
  };
  const isReady = (client: OciClient): Promise<true> =>
    until(
      `${client.server} is ready`,
      async () => (await client.call("/readyz")).status === 200 || false,
      60_000,
    ) as Promise<true>;
  const isRefused = (answer: Answer, what: string): void => {
    assert.equal(answer.status, 503, `${what}: ${answer.status} ${answer.body}`);
    assert.match(String(answer.headers["retry-after"]), /^\d+$/, what);
  };

  before(async () => {
    cluster = await DevProcess.start("--nats", "--sites", "eu,us", "--gateways", "2");
    const second = cluster.gateway("eu").replace(/\d+$/, (port) => String(Number(port) + 100));
    gateways = [cluster.at("eu"), new OciClient(second, { ca: cluster.ca, password: cluster.adminPassword })];
    await isReady(gateways[1]);
  });
  after(async () => {
    gateways?.[1][Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test("what one gateway answered, the other shows at once, with writers at both (P2)", async () => {
    await Promise.all(
      Array.from({ length: WRITERS }, async (_, writer) => {
        const [here, there] = writer % 2 === 0 ? gateways : [gateways[1], gateways[0]];
        for (let i = 0; i < PUSHES; i++) {
          const tag = `w${writer}-${i}`;
          const image = await push(here, tag);
          assert.equal(await digestAt(there, tag), image.digest, tag);
          const { body } = await there.call(`/v2/pair/app/tags/list?n=1000`);
          assert.match(body.toString(), new RegExp(`"${tag}"`));
          if (i % 3 !== 2) continue;
          const gone = await here.call(`/v2/pair/app/manifests/${tag}`, { method: "DELETE" });
          assert.equal(gone.status, 202, gone.body.toString());
          answered.delete(tag);
          assert.equal(await digestAt(there, tag), undefined, `${tag} was deleted`);
        }
      }),
    );
  });

  test("an upload begun at one gateway goes on at the other and at another site, and is whole there (P4)", async () => {
    const bytes = randomBytes(900_000);
    const begun = await gateways[0].call("/v2/pair/app/blobs/uploads/", {
      method: "POST",
      headers: { "content-length": "0" },
    });
    let location = new URL(String(begun.headers.location), gateways[0].server).pathname;
    for (const [index, client] of [gateways[1], cluster.at("us"), gateways[0]].entries()) {
      const start = index * 300_000;
      const answer = await client.call(location, {
        method: "PATCH",
        headers: { "content-type": "application/octet-stream", "content-range": `${start}-${start + 299_999}` },
        body: bytes.subarray(start, start + 300_000),
      });
      assert.equal(answer.status, 202, `chunk ${index}: ${answer.body}`);
      assert.equal(answer.headers.range, `0-${start + 299_999}`);
      location = new URL(String(answer.headers.location), client.server).pathname;
    }
    const digest = digestOf(bytes);
    const done = await cluster
      .at("us")
      .call(`${location}?digest=${digest}`, { method: "PUT", headers: { "content-length": "0" } });
    assert.equal(done.status, 201, done.body.toString());
    await gateways[1].pullBlob("pair/app", digest, bytes.length);
    await cluster.at("us").pullBlob("pair/app", digest, bytes.length);
  });

  test("with a gateway killed the other goes on with its uploads, takes pushes and shows everything", async () => {
    const bytes = randomBytes(200_000);
    const begun = await gateways[1].call("/v2/pair/app/blobs/uploads/", {
      method: "POST",
      headers: { "content-length": "0" },
    });
    const location = new URL(String(begun.headers.location), gateways[1].server).pathname;
    await command(cluster, { command: "process-kill", process: "eu/gateway-2", hold: true });
    const done = await gateways[0].call(`${location}?digest=${digestOf(bytes)}`, {
      method: "PUT",
      headers: { "content-type": "application/octet-stream" },
      body: bytes,
    });
    assert.equal(done.status, 201, done.body.toString());
    await push(gateways[0], "alone");
    for (const [tag, image] of answered) assert.equal(await digestAt(gateways[0], tag), image.digest, tag);
    await command(cluster, { command: "process-start", process: "eu/gateway-2" });
    await isReady(gateways[1]);
    for (const [tag, image] of answered) assert.equal(await digestAt(gateways[1], tag), image.digest, tag);
  });

  test("with the nats-server stopped pulls go on, and pushes and deletes are refused with 503 and Retry-After", async () => {
    const [tag, image] = [...answered][0]!;
    await command(cluster, { command: "process-stop", process: "eu/nats-1" });
    const late = makeImage(10_000);
    const put = () =>
      gateways[0].call("/v2/pair/app/manifests/late", {
        method: "PUT",
        headers: { "content-type": MANIFEST_TYPE },
        body: image.manifest,
      });
    isRefused(await put(), "PUT of a manifest");
    isRefused(await gateways[1].call(`/v2/pair/app/manifests/${tag}`, { method: "DELETE" }), "DELETE of a manifest");
    await assert.rejects(gateways[1].push("pair/app", "late", late), /503/);
    for (const client of gateways) {
      for (const [name, { digest }] of answered) {
        assert.equal((await client.pull("pair/app", name)).digest, digest, `${name} at ${client.server}`);
      }
    }
    // The other site does not depend on this one's log.
    const elsewhere = makeImage(5_000);
    await cluster.at("us").push("pair/app", "meanwhile", elsewhere);
    answered.set("meanwhile", elsewhere);
  });

  test("when it is back nothing answered is lost, what was refused is not there, and writing goes on", async () => {
    await command(cluster, { command: "process-start", process: "eu/nats-1" });
    await Promise.all(gateways.map(isReady));
    for (const client of [...gateways, cluster.at("us")]) {
      for (const [tag, { digest }] of answered) {
        await until(`${tag} at ${client.server}`, async () => (await digestAt(client, tag)) === digest || false);
      }
      assert.equal(await digestAt(client, "late"), undefined, "a push that was refused");
    }
    const image = await push(gateways[1], "after");
    assert.equal(await digestAt(gateways[0], "after"), image.digest);
  });
});
