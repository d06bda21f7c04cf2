import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Change, manifestValueOf, toWireDigest } from "@meridian/catalog";
import { FIXED_MEMBERSHIP } from "@meridian/cluster";
import { digestOf, parseManifest } from "@meridian/oci";
import { RepositorySettingsTable } from "@meridian/policy";
import { policyV1, recordV1 } from "@meridian/wire";
import { createResidency } from "./residency.ts";
import { TestCluster, type TestSite, until } from "./test-cluster.fixture.ts";
import { blobsOf, commit, hasAll, heldAt, imageAt, MANIFEST, namesOf, push } from "./test-image.fixture.ts";

type Placement = { readonly lazy?: string[]; readonly never?: string[] };

function place(cluster: TestCluster, prefix: string, placement: Placement): void {
  for (const site of cluster.sites.values())
    site.settings.put(create(policyV1.RepositorySettingsSchema, { prefix, placement }));
}

async function threeSites(): Promise<{ cluster: TestCluster; eu: TestSite; us: TestSite; ap: TestSite }> {
  const cluster = await TestCluster.start(["eu", "us", "ap"], { rescanEveryMs: 1_000, residencyEveryMs: 500 });
  return { cluster, eu: cluster.site("eu"), us: cluster.site("us"), ap: cluster.site("ap") };
}

/** A push of something that names a subject: a signature or an SBOM. */
function referrerTo(subject: ReturnType<typeof imageAt>, signature: ReturnType<typeof imageAt>): Change[] {
  const value = manifestValueOf(parseManifest(signature.bytes, MANIFEST), signature.bytes.byteLength);
  value.subject = create(recordV1.ReferenceSchema, { digest: toWireDigest(subject.manifest.digest) });
  return [
    ...blobsOf(signature).map((blob): Change => ({ kind: "link", repository: "app", ...blob })),
    { kind: "manifest", repository: "app", digest: signature.manifest.digest, value },
  ];
}

const holdsNone = (site: TestSite, image: ReturnType<typeof imageAt>): boolean =>
  blobsOf(image).every(({ digest }) => !site.blobs.has(digest) && !site.fetches.includes(digest));

describe("placement", () => {
  test("a site that a repository is kept from never asks for a byte of it: not of images, not of what refers to them", async () => {
    const { cluster, eu, us, ap } = await threeSites();
    await using _cluster = cluster;
    place(cluster, "app", { never: ["us"] });
    const [image, signature] = [imageAt(eu, "image", [100, 2_000]), imageAt(eu, "signature", [10])];
    await push(eu, "app", image);
    await commit(eu, [...heldAt(signature, eu.node), ...referrerTo(image, signature)]);
    const elsewhere = imageAt(eu, "elsewhere", [50]);
    await push(eu, "other", elsewhere);
    await until(() => hasAll(ap, image) && hasAll(ap, signature), "ap has it, with the signature");
    await until(() => hasAll(us, elsewhere), "us has what may be there");
    us.replicator.prefer("app", image.manifest.digest);
    await until(
      () => us.replicator.status().scanned && us.catalog.tag("app", "latest") !== undefined,
      "us knows of it",
    );
    assert.ok(holdsNone(us, image) && holdsNone(us, signature), "us asked for what is kept from it");
    for (const { digest } of [...blobsOf(image), ...blobsOf(signature)]) {
      assert.equal(eu.replicator.residency.mayHold("us", digest), false);
      assert.equal(eu.replicator.residency.mayHold("ap", digest), true);
    }
    assert.equal(eu.replicator.residency.mayHold("us", elsewhere.manifest.digest), true);
  });

  test("bytes that another repository shows, too, may be where that one may", async () => {
    const { cluster, eu, us } = await threeSites();
    await using _cluster = cluster;
    place(cluster, "app", { never: ["us"] });
    const image = imageAt(eu, "shared", [100]);
    await push(eu, "app", image);
    await commit(eu, namesOf(image, "public"));
    await until(() => hasAll(us, image), "us has it by the other name");
  });

  test("of bytes that no repository is known to show nothing is told to a site from which anything is kept", async () => {
    const { cluster, eu } = await threeSites();
    await using _cluster = cluster;
    const stray = eu.store("pushed, and linked nowhere yet");
    assert.equal(eu.replicator.residency.mayHold("us", stray.digest), true);
    place(cluster, "app", { never: ["us"] });
    assert.equal(eu.replicator.residency.mayHold("us", stray.digest), false);
    assert.equal(eu.replicator.residency.mayHold("ap", stray.digest), true);
  });

  test("a lazy site gets what is pulled there, its signatures with it, and nothing else", async () => {
    const { cluster, eu, us, ap } = await threeSites();
    await using _cluster = cluster;
    place(cluster, "app", { lazy: ["us"] });
    const [image, signature] = [imageAt(eu, "lazy", [100, 2_000]), imageAt(eu, "sig", [10])];
    await push(eu, "app", image);
    await commit(eu, [...heldAt(signature, eu.node), ...referrerTo(image, signature)]);
    await until(() => hasAll(ap, image) && hasAll(ap, signature), "ap has it");
    await until(() => us.catalog.referrers("app", image.manifest.digest).length === 1, "us knows of it");
    assert.ok(holdsNone(us, image) && holdsNone(us, signature), "nobody pulled it");
    us.replicator.prefer("app", image.manifest.digest);
    await until(() => hasAll(us, image) && hasAll(us, signature), "us has it, and the signature");
  });

  test("what is kept from a site later is removed there once another has it, and the last copy is not", async () => {
    const { cluster, eu, us, ap } = await threeSites();
    await using _cluster = cluster;
    const image = imageAt(us, "moved", [100]);
    cluster.cut("us", "eu");
    cluster.cut("us", "ap");
    await push(us, "app", image);
    place(cluster, "app", { never: ["us"] });
    await until(() => us.replicator.status().scanned, "us has looked");
    assert.ok(hasAll(us, image), "the last copy was removed");
    cluster.heal("us", "eu");
    cluster.heal("us", "ap");
    await until(() => hasAll(eu, image) && hasAll(ap, image), "the others have it");
    await until(() => blobsOf(image).every(({ digest }) => !us.blobs.has(digest)), "us has it no more");
    const told = (): boolean => blobsOf(image).every(({ digest }) => !eu.catalog.holders(digest).includes(us.node));
    await until(told, "the others know");
  });
});

test("a lazy site keeps all of a repository while a site drains and no other would: the first of them", () => {
  const settings = new RepositorySettingsTable();
  const set = (prefix: string, placement: Placement): void =>
    settings.put(create(policyV1.RepositorySettingsSchema, { prefix, placement }));
  set("lazy", { lazy: ["eu", "us"] });
  set("kept", { never: ["eu"], lazy: ["us"] });
  set("elsewhere", { lazy: ["us"] });
  const draining = new Set<string>();
  const membership = { ...FIXED_MEMBERSHIP, isDraining: (site: string) => draining.has(site) };
  const at = (site: string, repository: string): string => {
    const topology = { site, sites: ["eu", "us", "ap"] };
    return createResidency({ topology, membership, settings, catalog: { repositoriesOf: () => [] } }).placement(
      repository,
    );
  };
  assert.equal(at("eu", "lazy"), "lazy");
  draining.add("ap");
  assert.equal(at("eu", "lazy"), "eager");
  assert.equal(at("us", "lazy"), "lazy", "one is enough");
  assert.equal(at("us", "kept"), "eager");
  assert.equal(at("eu", "kept"), "never", "what is kept from a site stays so");
  assert.equal(at("us", "elsewhere"), "lazy", "eu has it all");
  assert.equal(at("ap", "other"), "lazy", "a site that drains fetches nothing more");
});

test("a site that is no member may hold nothing", () => {
  const settings = new RepositorySettingsTable();
  const topology = { site: "eu", sites: ["eu", "us"] };
  const residency = createResidency({ topology, settings, catalog: { repositoriesOf: () => ["r"] } });
  assert.equal(residency.mayHold("us", digestOf("x")), true);
  assert.equal(residency.mayHold("ap", digestOf("x")), false);
});
