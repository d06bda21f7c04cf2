import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { CuttingRelay } from "../harness/cutting-relay.ts";
import { writeMultiArchLayout } from "../harness/image-layout.ts";
import { digestOf } from "../harness/oci-client.ts";
import { needs } from "../harness/programs.ts";
import { until } from "../harness/until.ts";
import { identityToken, type Lab, registry, SITES } from "./lab.ts";

const EMPTY = "application/vnd.oci.empty.v1+json";
const TYPE = "application/vnd.example.thing";

/** oras: trust by `--ca-file` with each command, logins in docker's config.json, HTTP/2. */
export function orasTests(lab: () => Lab): void {
  const at = (site: string, image = ""): string => `${registry(lab(), site)}${image && `/${image}`}`;
  const ca = (): string => `${lab().cluster.home}/ca.pem`;
  const trust = (verb: string): string[] =>
    verb === "cp" ? ["--from-ca-file", ca(), "--to-ca-file", ca()] : ["--ca-file", ca()];
  const line = (command: string, ...args: string[]): string[] => [
    ...["-u", "SSL_CERT_FILE", "oras", ...command.split(" ")],
    ...(command === "version" ? [] : trust(command)),
    ...args,
  ];
  const oras = (command: string, ...args: string[]): Promise<string> =>
    lab().tools.ok("env", ...line(command, ...args));
  const fails = (command: string, ...args: string[]): Promise<string> =>
    lab().tools.fails("env", line(command, ...args));
  const manifestAt = async (site: string, image: string) =>
    JSON.parse(await until(`${site} has ${image}`, () => oras("manifest fetch", at(site, image))));
  const discover = async (site: string, image: string, ...args: string[]): Promise<Referrer[]> =>
    JSON.parse(await oras("discover", "--format", "json", ...args, at(site, image))).referrers ?? [];
  const content = randomBytes(100_000);
  let digest = "";

  describe("oras", { skip: needs("oras") }, () => {
    before(() => {
      writeFileSync(lab().tools.path("thing.bin"), content);
      writeFileSync(lab().tools.path("spdx.json"), '{"spdxVersion":"SPDX-2.3"}');
      writeFileSync(lab().tools.path("review.txt"), "looks good");
    });

    test("says its version", async (t) => t.diagnostic((await oras("version")).split("\n")[0]?.trim() ?? ""));

    test("login at each site, and not with a wrong password, nor without trust", async () => {
      for (const site of SITES) {
        const args = line("login", at(site), "-u", "admin", "--password-stdin");
        assert.match(await lab().tools.login("env", ...args), /Login Succeeded/);
      }
      assert.match(await fails("login", at("eu"), "-u", "admin", "-p", "wrong"), /401|unauthorized/i);
      const untrusting = ["-u", "SSL_CERT_FILE", "oras", "repo", "ls", at("eu")];
      assert.match(await lab().tools.fails("env", untrusting), /unknown authority/);
    });

    test("push of a file without config under two tags; pull at the other sites", async () => {
      const pushed = await oras(
        ...["push", "--artifact-type", TYPE, "--format", "json", at("eu", "oras/thing:v1,latest")],
        "thing.bin:application/octet-stream",
      );
      digest = JSON.parse(pushed).digest;
      for (const [site, reference] of [
        ["us", "oras/thing:latest"],
        ["ap", `oras/thing@${digest}`],
      ] as const) {
        const manifest = await manifestAt(site, reference);
        assert.equal(manifest.artifactType, TYPE);
        assert.equal(manifest.config.mediaType, EMPTY);
        await oras("pull", "-o", lab().tools.path(`thing-${site}`), at(site, reference));
        assert.ok(readFileSync(lab().tools.path(`thing-${site}`, "thing.bin")).equals(content));
      }
    });

    test("push with a config of its own (image-spec 1.0), and with nothing but annotations", async () => {
      writeFileSync(lab().tools.path("config.json"), '{"some":"config"}');
      await oras(
        "push",
        "--config",
        "config.json:application/vnd.example.config",
        at("us", "oras/thing:config"),
        "review.txt",
      );
      assert.equal((await manifestAt("eu", "oras/thing:config")).config.mediaType, "application/vnd.example.config");
      await oras("push", "--annotation", "a=b", "--artifact-type", TYPE, at("us", "oras/thing:bare"));
      const bare = await manifestAt("ap", "oras/thing:bare");
      assert.deepEqual([bare.layers[0].mediaType, bare.annotations.a], [EMPTY, "b"]);
    });

    test("attach an SBOM and a review of the SBOM; discover finds both, and by type, at the other sites", async () => {
      const type = ["--artifact-type", "application/spdx+json"];
      const sbom = JSON.parse(
        await oras("attach", ...type, "--format", "json", at("eu", "oras/thing:v1"), "spdx.json"),
      );
      const onSbom = `oras/thing@${sbom.digest}`;
      await until("us has the SBOM", () => oras("manifest fetch", at("us", onSbom)));
      await oras("attach", "--artifact-type", "application/vnd.example.review", at("us", onSbom), "review.txt");
      for (const site of ["us", "ap"]) {
        await until(`${site} shows the tree`, async () => {
          const [found, ...others] = await discover(site, "oras/thing:v1");
          assert.equal(found?.digest, sbom.digest);
          assert.equal(others.length, 0);
          assert.equal(found?.referrers?.[0]?.artifactType, "application/vnd.example.review");
        });
        assert.equal((await discover(site, "oras/thing:v1", "--artifact-type", "application/none")).length, 0);
        assert.equal((await discover(site, "oras/thing:v1", ...type)).length, 1);
      }
      await oras("pull", "-o", lab().tools.path("sbom"), at("ap", onSbom));
      assert.match(readFileSync(lab().tools.path("sbom", "spdx.json"), "utf8"), /SPDX-2.3/);
    });

    test("cp -r between sites takes all that is attached along; within a site it mounts", async () => {
      await oras("cp", "-r", at("us", "oras/thing:v1"), at("ap", "oras/copied:v1"));
      assert.equal((await discover("ap", "oras/copied:v1"))[0]?.referrers?.length, 1);
      await oras("cp", "-r", at("us", "oras/thing:v1"), at("us", "oras/mounted:v1"));
      // The empty config, the file, the SBOM, the review.
      await lab().mounted("oras/mounted", 4);
      assert.equal((await discover("us", "oras/mounted:v1"))[0]?.referrers?.length, 1);
    });

    test("the referrers tag of registries without the API is written and read too", async () => {
      const scheme = "v1.1-referrers-tag";
      await oras("push", "--artifact-type", TYPE, at("eu", "oras/old:v1"), "review.txt");
      const args = ["--distribution-spec", scheme, "--artifact-type", "application/spdx+json"];
      await oras("attach", ...args, at("eu", "oras/old:v1"), "spdx.json");
      const subject = await oras("resolve", at("eu", "oras/old:v1"));
      const tags = (await oras("repo tags", at("eu", "oras/old"))).split("\n");
      assert.ok(tags.includes(subject.replace(":", "-")), tags.join(" "));
      for (const how of [[], ["--distribution-spec", scheme]]) {
        await until("us finds it", async () => assert.equal((await discover("us", "oras/old:v1", ...how)).length, 1));
      }
    });

    test("an index made of manifests that are there", async () => {
      const layout = writeMultiArchLayout(lab().tools.path("for-oras"), "v1", ["amd64", "arm64"]);
      const from = ["--from-oci-layout", "--to-ca-file", ca(), `${lab().tools.path("for-oras")}:v1`];
      await lab().tools.ok("env", "-u", "SSL_CERT_FILE", "oras", "cp", ...from, at("us", "oras/multi:v1"));
      assert.equal(await oras("resolve", at("us", "oras/multi:v1")), layout.digest);
      const arm64 = layout.images[1]?.digest;
      await until("ap resolves a platform", async () =>
        assert.equal(await oras("resolve", "--platform", "linux/arm64", at("ap", "oras/multi:v1")), arm64),
      );
      await oras("manifest index create", at("us", "oras/multi:made"), ...layout.images.map((image) => image.digest));
      assert.equal((await manifestAt("eu", "oras/multi:made")).manifests.length, 2);
    });

    test("backup of a repository with its referrers, restored at another site", async () => {
      const file = lab().tools.path("backup.tar");
      await oras("backup", "--include-referrers", "--output", file, at("us", "oras/mounted:v1"));
      await oras("restore", "--input", file, at("eu", "oras/restored:v1"));
      assert.equal(await oras("resolve", at("eu", "oras/restored:v1")), digest);
      assert.equal((await discover("eu", "oras/restored:v1")).length, 1);
    });

    test("blob push, fetch and delete; a push that was cut off succeeds when it is made again", async () => {
      await using relay = await CuttingRelay.start(lab().cluster.gateway("us"));
      await lab().tools.login("env", ...line("login", relay.registry, "-u", "admin", "--password-stdin"));
      const big = randomBytes(4_000_000);
      writeFileSync(lab().tools.path("big"), big);
      relay.cutOnceAfter(2_000_000);
      const push = ["blob push", `${relay.registry}/oras/blobs@${digestOf(big)}`, lab().tools.path("big")] as const;
      await fails(...push);
      assert.equal(relay.cuts, 1);
      await oras(...push);
      const blob = at("us", `oras/blobs@${digestOf(big)}`);
      await oras("blob fetch", "--output", lab().tools.path("fetched"), blob);
      assert.ok(readFileSync(lab().tools.path("fetched")).equals(big));
      await oras("blob delete", "--force", blob);
      assert.match(await fails("blob fetch", "--descriptor", blob), /not found/);
    });

    test("an identity token in place of a password, from another site's login", async () => {
      mkdirSync(lab().tools.path("token"));
      const config = lab().tools.path("token", "config.json");
      const token = await identityToken(lab(), "us");
      const to = ["--registry-config", config, at("ap")];
      await lab().tools.ok("env", ...line("login", "--identity-token", token, ...to));
      await oras("tag", "--registry-config", config, at("ap", "oras/thing:v1"), "by-token");
      assert.equal(await oras("resolve", "--registry-config", config, at("ap", "oras/thing:by-token")), digest);
    });

    test("repo ls and tags; tags move; manifest delete takes effect at every site", async () => {
      await oras("tag", at("us", "oras/thing:v1"), "stable", "v1.0");
      await until("ap lists the tags", async () => {
        const tags = (await oras("repo tags", at("ap", "oras/thing"))).split("\n");
        assert.ok(tags.includes("stable") && tags.includes("v1.0"), tags.join(" "));
      });
      assert.match(await oras("repo ls", at("eu")), /^oras\/thing$/m);
      await oras("manifest delete", "--force", at("ap", `oras/copied@${digest}`));
      for (const site of SITES) {
        await until(`${site} says not found`, async () =>
          assert.match(await fails("manifest fetch", at(site, "oras/copied:v1")), /not found/),
        );
      }
      assert.equal(await oras("resolve", at("ap", "oras/thing:v1")), digest);
    });

    test("logout: then what is private is refused", async () => {
      await lab().tools.ok("oras", "logout", at("ap"));
      assert.match(await fails("resolve", at("ap", "oras/thing:v1")), /401|unauthorized|credential/i);
    });
  });
}

/** One entry of `oras discover --format json`. */
interface Referrer {
  readonly digest: string;
  readonly artifactType: string;
  readonly referrers?: readonly Referrer[];
}
