import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { makeImage } from "../harness/oci-client.ts";
import { needs } from "../harness/programs.ts";
import { until } from "../harness/until.ts";
import { type Lab, registry, SITES } from "./lab.ts";

const NAME = "cosign/app";
const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SBOM = '{"spdxVersion":"SPDX-2.3"}';

/**
 * cosign: trust by `--registry-cacert`, logins in docker's config.json, HTTP/2. A local key, and neither a transparency
 * log nor a time-stamp authority: no service beside the registry is asked.
 */
export function cosignTests(lab: () => Lab): void {
  const at = (site: string, image = ""): string => `${registry(lab(), site)}${image && `/${image}`}`;
  const path = (name: string): string => lab().tools.path("cosign", name);
  const line = (...args: string[]): string[] => {
    const inFolder = ["-u", "SSL_CERT_FILE", "-C", lab().tools.path("cosign"), "COSIGN_PASSWORD=a-key's password"];
    return [...inFolder, "COSIGN_EXPERIMENTAL=1", "cosign", ...args];
  };
  const cosign = (...args: string[]): Promise<string> => lab().tools.ok("env", ...line(...args));
  const trust = (): string[] => ["--registry-cacert", `${lab().cluster.home}/ca.pem`];
  /** Of cosign 3: a bundle, attached as a referrer. */
  const bundle = (): string[] => ["-y", ...trust(), "--key", "cosign.key", "--signing-config", "services.json"];
  /** Of cosign 2, which 3 can still write: a signature image. */
  const legacy = (...more: string[]): string[] => {
    const off = ["--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"];
    return ["-y", ...trust(), "--key", "cosign.key", ...off, ...more];
  };
  const check = (key = "cosign.pub"): string[] => [
    ...trust(),
    ...["--key", key, "--insecure-ignore-tlog", "--trusted-root", "root.json"],
  ];
  const checkLegacy = (...more: string[]): string[] => [
    ...trust(),
    ...["--key", "cosign.pub", "--insecure-ignore-tlog", "--new-bundle-format=false", ...more],
  ];
  const image = makeImage(40_000);
  const signed = (site: string, name = NAME): string => at(site, `${name}@${image.digest}`);
  const tag = (suffix: string): string => `${image.digest.replace(":", "-")}.${suffix}`;
  const referrers = async (site: string): Promise<string[]> => {
    const answer = await lab().cluster.at(site).call(`/v2/${NAME}/referrers/${image.digest}`);
    assert.equal(answer.status, 200);
    const { manifests } = JSON.parse(answer.body.toString()) as { manifests: Array<{ artifactType: string }> };
    return manifests.map(({ artifactType }) => artifactType).sort();
  };

  describe("cosign", { skip: needs("cosign") }, () => {
    before(async () => {
      await lab().tools.ok("mkdir", lab().tools.path("cosign"));
      writeFileSync(path("sbom.json"), SBOM);
      await lab().cluster.at("eu").push(NAME, "v1", image);
      await cosign("generate-key-pair");
      await cosign("generate-key-pair", "--output-key-prefix", "other");
      await cosign("signing-config", "create", "--out", "services.json");
      await cosign("trusted-root", "create", "--out", "root.json");
    });

    test("says its version", async (t) =>
      t.diagnostic(`cosign ${/GitVersion: *(\S+)/.exec(await cosign("version"))?.[1]}`));

    test("login at each site; without trust nothing is signed", async () => {
      for (const site of SITES) {
        await lab().tools.login("env", ...line("login", at(site), "-u", "admin", "--password-stdin"));
      }
      const args = bundle().filter((part) => !trust().includes(part));
      assert.match(await lab().tools.fails("env", line("sign", ...args, signed("eu"))), /unknown authority/);
    });

    test("sign at eu with a bundle: a referrer, which us and ap verify, and not with another key", async () => {
      await cosign("sign", ...bundle(), signed("eu"));
      for (const site of ["us", "ap"]) {
        await until(`${site} verifies it`, () => cosign("verify", ...check(), signed(site)));
        assert.deepEqual(await referrers(site), [BUNDLE]);
      }
      assert.match(
        await lab().tools.fails("env", line("verify", ...check("other.pub"), signed("us"))),
        /no (matching|valid)? ?signatures|invalid signature|failed to verify/i,
      );
    });

    test("sign at us in cosign 2's form: the tag sha256-….sig, which eu and ap verify", async () => {
      await cosign("sign", ...legacy("--registry-referrers-mode", "legacy"), signed("us"));
      for (const site of ["eu", "ap"]) {
        await until(`${site} verifies it`, () => cosign("verify", ...checkLegacy(), signed(site)));
        const found = await lab()
          .cluster.at(site)
          .call(`/v2/${NAME}/manifests/${tag("sig")}`);
        assert.equal(found.status, 200);
      }
    });

    test("a signature image attached as a referrer (OCI 1.1), instead of by a tag", async () => {
      await cosign("sign", ...legacy("--registry-referrers-mode", "oci-1-1"), signed("us"));
      await until("ap verifies it", () => cosign("verify", ...checkLegacy("--experimental-oci11"), signed("ap")));
      assert.deepEqual(await referrers("ap"), [SIGNATURE, BUNDLE].sort());
    });

    test("an SBOM attested at eu, in both forms, is verified and downloaded at ap", async () => {
      const statement = ["--type", "spdxjson", "--predicate", "sbom.json"];
      await cosign("attest", ...bundle(), ...statement, signed("eu"));
      await cosign("attest", ...legacy(), ...statement, signed("eu"));
      const told = await until("ap verifies the bundle", () =>
        cosign("verify-attestation", "--type", "spdxjson", ...check(), signed("ap")),
      );
      await until("ap verifies the .att", () =>
        cosign("verify-attestation", "--type", "spdxjson", ...checkLegacy(), signed("ap")),
      );
      const { payload } = JSON.parse(told.split("\n").find((entry) => entry.startsWith("{")) ?? "{}");
      const statementOf = JSON.parse(Buffer.from(payload, "base64").toString());
      assert.deepEqual(statementOf.predicate, JSON.parse(SBOM));
      assert.equal(`sha256:${statementOf.subject[0].digest.sha256}`, image.digest);
      assert.match(await cosign("download", "attestation", ...trust(), signed("ap")), /"payload"/);
      assert.match(await cosign("tree", ...trust(), signed("us")), /\.att/);
    });

    test("save at us and load at ap take the signatures along", async () => {
      await cosign("save", ...trust(), "--dir", "saved", signed("us"));
      await cosign("load", ...trust(), "--dir", "saved", at("ap", "cosign/loaded:v1"));
      await cosign("verify", ...checkLegacy(), at("ap", "cosign/loaded:v1"));
    });

    test("clean takes the signatures away, at every site; the image stays", async () => {
      await cosign("clean", "--force", ...trust(), signed("us"));
      for (const site of SITES) {
        await until(`${site} has no signature`, async () => {
          assert.match(
            await lab().tools.fails("env", line("verify", ...check(), signed(site))),
            /no signatures|no (matching|valid)|none of the/i,
          );
          const sig = await lab()
            .cluster.at(site)
            .call(`/v2/${NAME}/manifests/${tag("sig")}`);
          assert.equal(sig.status, 404);
        });
        assert.equal((await lab().cluster.at(site).pull(NAME, "v1")).digest, image.digest);
      }
    });
  });
}
