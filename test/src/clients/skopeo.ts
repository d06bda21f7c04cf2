import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { CuttingRelay } from "../harness/cutting-relay.ts";
import { type MultiArchLayout, writeMultiArchLayout } from "../harness/image-layout.ts";
import { digestOf } from "../harness/oci-client.ts";
import { needs } from "../harness/programs.ts";
import { until } from "../harness/until.ts";
import { identityToken, type Lab, registry, SITES } from "./lab.ts";

const NAME = "skopeo/app";

/** skopeo: everything that it can ask a registry. */
export function skopeoTests(lab: () => Lab): void {
  const at = (site: string): string => registry(lab(), site);
  const image = (site: string, reference: string, name = NAME): string => `docker://${at(site)}/${name}${reference}`;
  const skopeo = (...args: string[]): Promise<string> => lab().tools.ok("skopeo", ...args);
  const digestAt = (site: string, reference: string): Promise<string> =>
    skopeo("inspect", "--format", "{{.Digest}}", image(site, reference));
  let made: MultiArchLayout;

  describe("skopeo", { skip: needs("skopeo") }, () => {
    test("says its version", async (t) => t.diagnostic(await skopeo("--version")));

    test("login is refused with a wrong password, and says so", async () => {
      const args = ["login", "-u", "admin", "--password-stdin", at("eu")];
      const said = await lab().tools.fails("skopeo", args, { input: "wrong" });
      assert.match(said, /invalid username\/password/);
    });

    test("login at each site", async () => {
      for (const site of SITES) {
        const said = await lab().tools.login("skopeo", "login", "-u", "admin", "--password-stdin", at(site));
        assert.match(said, /Login Succeeded/);
      }
    });

    test("copy --all pushes an index with two platforms at eu, which us and ap show unchanged", async () => {
      made = writeMultiArchLayout(lab().tools.path("layout"), "v1", ["amd64", "arm64"]);
      await skopeo("copy", "--all", `oci:${lab().tools.path("layout")}:v1`, image("eu", ":v1"));
      for (const site of SITES) {
        const raw = await until(`${site} has the tag`, () => skopeo("inspect", "--raw", image(site, ":v1")));
        assert.equal(digestOf(Buffer.from(raw)), made.digest, site);
      }
    });

    test("copy pulls one platform by tag and the whole index by digest, at us and ap", async () => {
      for (const site of ["us", "ap"]) {
        const one = lab().tools.path(`${site}-arm64`);
        await skopeo("--override-arch", "arm64", "copy", image(site, ":v1"), `dir:${one}`);
        const arm64 = made.images.find(({ architecture }) => architecture === "arm64");
        assert.equal(digestOf(readFileSync(`${one}/manifest.json`)), arm64?.digest);
        const layer = arm64?.layers[0] ?? "";
        assert.equal(digestOf(readFileSync(`${one}/${layer.slice("sha256:".length)}`)), layer);
        const all = lab().tools.path(`${site}-all`);
        await skopeo("copy", "--all", image(site, `@${made.digest}`), `oci:${all}:v1`);
        for (const { digest, config, layers } of made.images) {
          for (const blob of [digest, config, ...layers]) {
            assert.equal(digestOf(readFileSync(`${all}/blobs/sha256/${blob.slice("sha256:".length)}`)), blob);
          }
        }
      }
    });

    test("inspect tells the platform's layers and the repository's tags", async () => {
      const told = JSON.parse(await skopeo("--override-arch", "arm64", "inspect", image("ap", ":v1")));
      assert.equal(told.Architecture, "arm64");
      assert.deepEqual(told.Layers, made.images[1]?.layers);
      assert.deepEqual(told.RepoTags, ["v1"]);
      const config = JSON.parse(await skopeo("--override-arch", "arm64", "inspect", "--config", image("us", ":v1")));
      assert.equal(config.architecture, "arm64");
    });

    test("copy between sites gives another name at us, which list-tags shows at ap", async () => {
      await skopeo("copy", "--all", image("eu", ":v1"), image("us", ":one", "skopeo/copied"));
      await skopeo("copy", "--all", image("us", ":one", "skopeo/copied"), image("us", ":two", "skopeo/copied"));
      await until("ap lists both tags", async () => {
        const { Tags } = JSON.parse(await skopeo("list-tags", `docker://${at("ap")}/skopeo/copied`));
        assert.deepEqual(Tags, ["one", "two"]);
      });
    });

    test("sync copies all tags of a repository from one site into another repository", async () => {
      await skopeo(
        ...["sync", "--all", "--src", "docker", "--dest", "docker"],
        ...[`${at("eu")}/skopeo/copied`, `${at("ap")}/skopeo/synced`],
      );
      const { Tags } = JSON.parse(await skopeo("list-tags", `docker://${at("ap")}/skopeo/synced/copied`));
      assert.deepEqual(Tags, ["one", "two"]);
    });

    test("an image in docker's own format (v2 schema 2) keeps its digest and type at every site", async () => {
      await skopeo("copy", "--format", "v2s2", image("eu", ":v1"), image("eu", ":docker"));
      const digest = await digestAt("eu", ":docker");
      for (const site of ["us", "ap"]) {
        await until(`${site} has it`, async () => assert.equal(await digestAt(site, ":docker"), digest));
      }
      const { mediaType } = JSON.parse(await skopeo("inspect", "--raw", image("ap", ":docker")));
      assert.equal(mediaType, "application/vnd.docker.distribution.manifest.v2+json");
    });

    test("copy within a site mounts every layer instead of sending it", async () => {
      await skopeo("copy", "--all", image("us", ":v1"), image("us", ":v1", "skopeo/mounted"));
      // The layer of each platform; skopeo always sends configs.
      await lab().mounted("skopeo/mounted", 2, 2);
      assert.equal(
        digestOf(Buffer.from(await skopeo("inspect", "--raw", image("us", ":v1", "skopeo/mounted")))),
        made.digest,
      );
    });

    test("layers that it compresses with zstd come back from another site as the same files", async () => {
      // Bytes that it has not sent in another form: it would mount those.
      writeMultiArchLayout(lab().tools.path("to-compress"), "v1", ["arm64"]);
      const source = ["--override-arch", "arm64", "copy", `oci:${lab().tools.path("to-compress")}:v1`];
      await skopeo(...source, "--dest-compress-format", "zstd", image("eu", ":v1", "skopeo/zstd"));
      const raw = await until("us has it", () => skopeo("inspect", "--raw", image("us", ":v1", "skopeo/zstd")));
      const [layer] = JSON.parse(raw).layers;
      assert.equal(layer.mediaType, "application/vnd.oci.image.layer.v1.tar+zstd");
      const got = lab().tools.path("zstd-from-us");
      await skopeo("--override-arch", "arm64", "copy", image("us", ":v1", "skopeo/zstd"), `dir:${got}`);
      const tar = zstdDecompressSync(readFileSync(`${got}/${layer.digest.slice("sha256:".length)}`));
      const told = JSON.parse(
        await skopeo("--override-arch", "arm64", "inspect", "--config", image("us", ":v1", "skopeo/zstd")),
      );
      assert.equal(digestOf(tar), told.rootfs.diff_ids[0]);
    });

    test("a push that is cut off goes through when it is made again", async () => {
      await using relay = await CuttingRelay.start(lab().cluster.gateway("us"));
      const login = ["--dest-creds", `admin:${lab().cluster.adminPassword}`];
      const trust = ["--dest-cert-dir", `${lab().cluster.home}/certs.d/${at("us")}`];
      relay.cutOnceAfter(20_000);
      const target = `docker://${relay.registry}/skopeo/cut:v1`;
      const source = `oci:${lab().tools.path("layout")}:v1`;
      const push = (): Promise<string> =>
        skopeo("copy", "--all", "--retry-times", "3", ...trust, ...login, source, target);
      // It repeats not every error that a cut can end in.
      await push().catch(push);
      assert.equal(relay.cuts, 1);
      await until("ap has it", async () =>
        assert.equal(
          digestOf(Buffer.from(await skopeo("inspect", "--raw", image("ap", ":v1", "skopeo/cut")))),
          made.digest,
        ),
      );
    });

    test("an identity token in place of a password, as docker login keeps it", async () => {
      const file = lab().tools.path("identity.json");
      const auths = { [at("us")]: { auth: "", identitytoken: await identityToken(lab(), "eu") } };
      writeFileSync(file, JSON.stringify({ auths }));
      assert.match(await skopeo("inspect", "--authfile", file, image("us", ":v1")), /"Digest"/);
      await skopeo("copy", "--authfile", file, image("us", ":v1"), image("us", ":by-token"));
    });

    test("delete at us makes every tag of the digest unknown there at once, and at the others soon", async () => {
      await skopeo("delete", image("us", ":one", "skopeo/copied"));
      for (const tag of [":one", ":two"]) {
        const said = await lab().tools.fails("skopeo", ["inspect", image("us", tag, "skopeo/copied")]);
        assert.match(said, /manifest unknown/, tag);
      }
      for (const site of ["eu", "ap"]) {
        await until(`${site} says manifest unknown`, async () => {
          const said = await lab().tools.fails("skopeo", ["inspect", image(site, ":two", "skopeo/copied")]);
          assert.match(said, /manifest unknown/);
        });
      }
      assert.equal(await digestAt("us", ":v1"), made.digest);
    });

    test("logout: then what is private is refused", async () => {
      await skopeo("logout", at("us"));
      const said = await lab().tools.fails("skopeo", ["inspect", image("us", ":v1")]);
      assert.match(said, /unauthorized|authentication required/);
    });
  });
}
