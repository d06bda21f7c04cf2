import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type Clock, createSystemClock } from "@meridian/runtime";
import { type DevPkiSite, ensureDevPki } from "./dev-pki.ts";
import { createIdentifyPeer } from "./identify-peer.ts";

const trustDomain = "dev.meridian.test";
const DAY_MS = 24 * 60 * 60 * 1000;
const later = (days: number): Clock => ({ now: () => Date.now() + days * DAY_MS, monotonic: () => 0 });
const site = (name: string): DevPkiSite => ({ name, processes: [{ process: "site", service: "site" }] });

describe("ensureDevPki", () => {
  let dir: string;
  let folder = 0;
  const freshDir = (): string => join(dir, String(folder++));
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "meridian-pki-"));
  });
  after(() => rm(dir, { recursive: true }));

  const leaf = async (path: string): Promise<X509Certificate> => new X509Certificate(await readFile(path));

  it("makes three sites within a second of CPU time, once everything is loaded", async () => {
    const clock = createSystemClock();
    await ensureDevPki({ dir: freshDir(), trustDomain, sites: [site("eu")], clock });
    const started = process.cpuUsage();
    const pki = await ensureDevPki({ dir: freshDir(), trustDomain, sites: ["eu", "us", "ap"].map(site), clock });
    assert.equal(pki.issued, 1 + 3 * 3);
    const { user, system } = process.cpuUsage(started);
    assert.ok(user + system < 1_000_000, `${user + system} µs`);
  });

  it("puts the names into the certificates", async () => {
    const sites = [{ ...site("eu"), edgeNames: ["registry.example.org", "10.0.0.7"] }];
    const pki = await ensureDevPki({ dir: freshDir(), trustDomain, sites, clock: createSystemClock() });
    const edge = await leaf(String(pki.sites.eu?.edge.cert));
    const peer = await leaf(String(pki.sites.eu?.processes.site?.cert));
    assert.equal(edge.subjectAltName, "DNS:registry.example.org, IP Address:10.0.0.7");
    assert.equal(
      peer.subjectAltName,
      "URI:spiffe://dev.meridian.test/site/eu/site, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
    );
  });

  it("keeps keys to their owner and leaves no other files", async () => {
    const home = freshDir();
    await ensureDevPki({ dir: home, trustDomain, sites: [site("eu")], clock: createSystemClock() });
    const files = (await readdir(home, { recursive: true })).sort();
    assert.deepEqual(
      files,
      [
        "ca.key",
        "ca.pem",
        "eu",
        "eu/ca.key",
        "eu/ca.pem",
        "eu/edge.key",
        "eu/edge.pem",
        "eu/site.key",
        "eu/site.pem",
      ].sort(),
    );
    for (const file of files.filter((name) => name.endsWith(".key"))) {
      assert.equal((await stat(join(home, file))).mode & 0o777, 0o600, file);
    }
  });

  it("issues nothing again on the next start, and only what is new when sites are added", async () => {
    const home = freshDir();
    const clock = createSystemClock();
    const first = await ensureDevPki({ dir: home, trustDomain, sites: [site("eu")], clock });
    const before = await readFile(String(first.sites.eu?.edge.cert), "utf8");
    assert.equal((await ensureDevPki({ dir: home, trustDomain, sites: [site("eu")], clock })).issued, 0);
    const both = await ensureDevPki({ dir: home, trustDomain, sites: [site("eu"), site("us")], clock });
    assert.equal(both.issued, 3);
    assert.equal(await readFile(String(both.sites.eu?.edge.cert), "utf8"), before);
  });

  it("issues again what is near its end, damaged, or has other names; authorities keep their keys", async () => {
    const home = freshDir();
    const options = { dir: home, trustDomain, sites: [site("eu")] };
    const first = await ensureDevPki({ ...options, clock: later(0) });
    assert.equal((await ensureDevPki({ ...options, clock: later(360) })).issued, 0);
    assert.equal((await ensureDevPki({ ...options, clock: later(380) })).issued, 2);
    const rootBefore = await leaf(first.ca);
    assert.equal((await ensureDevPki({ ...options, clock: later(3500) })).issued, 4);
    const rootAfter = await leaf(first.ca);
    assert.notEqual(rootAfter.fingerprint256, rootBefore.fingerprint256);
    assert.equal(rootAfter.publicKey.equals(rootBefore.publicKey), true);

    const clock = later(3500);
    await writeFile(String(first.sites.eu?.edge.key), "no key");
    assert.equal((await ensureDevPki({ ...options, clock })).issued, 1);
    const renamed = [{ ...site("eu"), edgeNames: ["eu.example.org"] }];
    assert.equal((await ensureDevPki({ ...options, sites: renamed, clock })).issued, 1);
    const asGateway = [
      { ...site("eu"), edgeNames: ["eu.example.org"], processes: [{ process: "site", service: "gateway" }] },
    ];
    assert.equal((await ensureDevPki({ ...options, sites: asGateway, clock })).issued, 1);
  });

  it("refuses names that would leave the folder or forge a URI", async () => {
    const clock = createSystemClock();
    for (const name of ["../eu", "EU", "", "eu/us", "a".repeat(64)]) {
      await assert.rejects(ensureDevPki({ dir: freshDir(), trustDomain, sites: [site(name)], clock }), {
        kind: "invalid",
      });
    }
    const sites = [{ name: "eu", processes: [{ process: "ca", service: "site" }] }];
    await assert.rejects(ensureDevPki({ dir: freshDir(), trustDomain, sites, clock }), { kind: "invalid" });
  });

  it("makes leaves that name their service to peers of the trust domain, and to nobody else", async () => {
    const pki = await ensureDevPki({ dir: freshDir(), trustDomain, sites: [site("eu")], clock: createSystemClock() });
    const der = (await leaf(String(pki.sites.eu?.processes.site?.cert))).raw;
    assert.deepEqual(createIdentifyPeer(trustDomain)(der), { trustDomain, site: "eu", service: "site" });
    assert.throws(() => createIdentifyPeer("other.test")(der), { kind: "denied", message: /other\.test/ });
    assert.throws(() => createIdentifyPeer(trustDomain, { clock: later(400) })(der), {
      kind: "denied",
      message: /expired/,
    });
    assert.throws(() => createIdentifyPeer(trustDomain, { clock: later(-5) })(der), {
      kind: "denied",
      message: /not valid yet/,
    });
    const edge = (await leaf(String(pki.sites.eu?.edge.cert))).raw;
    assert.throws(() => createIdentifyPeer(trustDomain)(edge), { kind: "denied", message: /no URI/ });
    const authority = (await leaf(pki.ca)).raw;
    assert.throws(() => createIdentifyPeer(trustDomain)(authority), { kind: "denied", message: /authority/ });
    assert.throws(() => createIdentifyPeer(trustDomain)(new Uint8Array(9)), {
      kind: "denied",
      message: /cannot be read/,
    });
  });
});
