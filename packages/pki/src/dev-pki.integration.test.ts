import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createSystemClock } from "@meridian/runtime";
import { type DevPki, ensureDevPki } from "./dev-pki.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const skip = !hasOpenssl && process.env.MERIDIAN_REQUIRE !== "all" ? "openssl is not on PATH" : false;

describe("development certificates, judged by openssl", { skip }, () => {
  let dir: string;
  let pki: DevPki;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "meridian-pki-"));
    const sites = [{ name: "eu", processes: [{ process: "site", service: "site" }] }];
    pki = await ensureDevPki({ dir, trustDomain: "dev.meridian.test", sites, clock: createSystemClock() });
  });
  after(() => rm(dir, { recursive: true, force: true }));

  function verify(cert: string, purpose: string): string {
    const args = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", pki.ca, "-untrusted", cert, cert];
    return execFileSync("openssl", args, { encoding: "utf8", stdio: "pipe" });
  }

  it("chains a process to the root, as server and as client", () => {
    const peer = String(pki.sites.eu?.processes.site?.cert);
    assert.match(verify(peer, "sslserver"), /: OK/);
    assert.match(verify(peer, "sslclient"), /: OK/);
  });

  it("chains an edge to the root, as server only", () => {
    const edge = String(pki.sites.eu?.edge.cert);
    assert.match(verify(edge, "sslserver"), /: OK/);
    assert.throws(() => verify(edge, "sslclient"));
  });

  it("constrains a site to the URIs of the trust domain", () => {
    const args = ["x509", "-in", join(dir, "eu", "ca.pem"), "-noout", "-text"];
    const text = execFileSync("openssl", args, { encoding: "utf8" });
    assert.match(text, /Name Constraints: critical\s+Permitted:\s+URI:dev\.meridian\.test/);
    assert.match(text, /CA:TRUE, pathlen:0/);
  });
});
