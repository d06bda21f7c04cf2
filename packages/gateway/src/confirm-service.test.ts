import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { formatVersion } from "@meridian/catalog";
import { type Digest, digestOf } from "@meridian/oci";
import { collectionV1 } from "@meridian/wire";
import { adminOf, manifestOf } from "./http-client.fixture.ts";
import { startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
const repository = "team/app";
const admin = () => adminOf(cluster.site, repository);

/** The test cluster's sites. */
const MEMBERS = ["eu"];

interface Asked {
  readonly version?: string;
  readonly repository?: string;
}

const confirm = (digests: readonly Digest[], { version = "", repository: where = "" }: Asked = {}) =>
  cluster.client(collectionV1.ConfirmService, "eu").confirm({
    version,
    members: MEMBERS,
    questions: digests.map((digest) => ({ repository: where, digest })),
  });
const neededOf = async (digest: Digest, asked?: Asked): Promise<boolean> => (await confirm([digest], asked)).needed[0]!;

before(async () => {
  cluster = await startTestCluster();
  const { catalog } = cluster.site;
  await catalog.ownLogShown(AbortSignal.timeout(10_000));
  assert.equal(catalog.ready, true);
});
after(() => cluster[Symbol.asyncDispose]());

describe("what a member says of what it needs", () => {
  test("nothing of what it never heard of", async () => {
    const { needed, pinned, instances } = await confirm([digestOf("never"), digestOf("neither")]);
    assert.deepEqual(
      [needed, pinned],
      [
        [false, false],
        [false, false],
      ],
    );
    assert.equal(instances.length, 1);
  });

  test("all that an image needs, in its repository or anywhere", async () => {
    const { digest, config, layer } = await admin().pushImage("v1");
    for (const one of [digest, config, layer]) {
      assert.equal(await neededOf(one), true);
      assert.equal(await neededOf(one, { repository }), true);
    }
  });

  test("what a client was told of, although nothing shows it any more", async () => {
    const { catalog } = cluster.site;
    const digest = await admin().pushBlob(randomBytes(300));
    catalog.pins.unpin(repository, digest);
    await catalog.commit([{ kind: "delete-link", repository, digest }]);
    const { needed, pinned } = await confirm([digest]);
    assert.deepEqual([needed, pinned], [[true], [true]], "its bytes were stored a moment ago");
  });

  test("how far its own log went, and the same run of the gateway each time", async () => {
    const first = await confirm([]);
    await admin().pushBlob(randomBytes(300));
    const second = await confirm([]);
    assert.deepEqual(first.instances, second.instances);
    assert.notEqual(first.version, second.version);
    assert.equal(second.version, cluster.site.catalog.version());
  });

  test("nothing to one who does not ask every member that is known here", async () => {
    const client = cluster.client(collectionV1.ConfirmService, "eu");
    await assert.rejects(client.confirm({ members: [], questions: [] }), { kind: "unavailable", message: /eu joined/ });
  });

  test("nothing before it has folded what the asker holds", async () => {
    const incarnation = { created: 1n, id: "elsewhere" };
    const beyond = formatVersion(new Map([["us", { incarnation, sequence: 5 }]]));
    const asking = cluster
      .client(collectionV1.ConfirmService, "eu")
      .confirm({ version: beyond, members: MEMBERS, questions: [] }, { timeoutMs: 500 });
    await assert.rejects(asking, { kind: "unavailable" });
  });

  test("what a manifest references whose record could not hold it, once it has read the bytes", async () => {
    const config = await admin().pushBlob(Buffer.from("{}"));
    const digest = await admin().pushBlob(randomBytes(10));
    const annotations = { long: "x".repeat(60_000) };
    const manifest = manifestOf(config, [{ digest, size: 10 }], { annotations });
    assert.equal((await admin().putManifest("large", manifest)).status, 201);
    const { catalog } = cluster.site;
    // As a view that was made again: no log says what its bytes said.
    await catalog.rebuild();
    await catalog.ownLogShown(AbortSignal.timeout(5_000));
    catalog.pins.unpin(repository, digest);
    // Nothing seems to need it; whoever asks is told the truth.
    assert.equal(catalog.collectable.isLone(repository, digest), true);
    await catalog.commit([{ kind: "collect-link", repository, digest }]);
    assert.equal(catalog.blob(repository, digest), undefined);
    assert.equal(await neededOf(digest, { repository }), true);
    assert.notEqual(catalog.blob(repository, digest), undefined);
    assert.deepEqual(catalog.collectable.unread({ n: 10 }), []);
  });

  test("too much at once is refused", async () => {
    const many = Array.from({ length: 5_001 }, () => digestOf("one"));
    await assert.rejects(confirm(many), { kind: "invalid" });
  });
});
