import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { CuttingRelay } from "../harness/cutting-relay.ts";
import { writeMultiArchLayout } from "../harness/image-layout.ts";
import { needs } from "../harness/programs.ts";
import { until } from "../harness/until.ts";
import { type Lab, needsRoot, registry, SITES } from "./lab.ts";

const BUILT = "buildah/app";
const LAYERS = 4;

/** buildah and podman, which share a store: build and push at one site, pull and push on at the others. */
export function buildahAndPodmanTests(lab: () => Lab): void {
  const at = (site: string): string => registry(lab(), site);
  const buildah = (...args: string[]): Promise<string> => lab().tools.ok("buildah", ...args);
  const podman = (...args: string[]): Promise<string> => lab().tools.ok("podman", ...args);
  const digestFile = (): string => lab().tools.path("digest");
  const files = Array.from({ length: LAYERS }, () => randomBytes(50_000));
  let built = "";

  describe("buildah", { skip: needs("buildah") || needsRoot() }, () => {
    test("says its version", async (t) => t.diagnostic(await buildah("--version")));

    test("login at each site, and not with a wrong password", async () => {
      for (const site of SITES) {
        const said = await lab().tools.login("buildah", "login", "-u", "admin", "--password-stdin", at(site));
        assert.match(said, /Login Succeeded/);
      }
      const args = ["login", "-u", "admin", "--password-stdin", at("eu")];
      assert.match(await lab().tools.fails("buildah", args, { input: "wrong" }), /invalid username\/password/);
    });

    test(`an image of ${LAYERS} layers, built from scratch, is pushed at eu`, async () => {
      let base = "scratch";
      for (const [index, content] of files.entries()) {
        writeFileSync(lab().tools.path(`file-${index}`), content);
        const container = await buildah("from", base);
        await buildah("add", container, lab().tools.path(`file-${index}`), `/file-${index}`);
        await buildah("config", "--label", `layer=${index}`, container);
        base = `localhost/built:${index}`;
        await buildah("commit", "--rm", container, base);
      }
      await buildah("push", "--digestfile", digestFile(), base, `docker://${at("eu")}/${BUILT}:v1`);
      built = readFileSync(digestFile(), "utf8").trim();
      await buildah("rmi", "--all", "--force");
    });

    test("us gives it by tag and ap by digest, and a build goes on from there", async () => {
      await until("us has it", () => buildah("pull", `${at("us")}/${BUILT}:v1`));
      await buildah("pull", `${at("ap")}/${BUILT}@${built}`);
      const container = await buildah("from", "--pull-never", `${at("us")}/${BUILT}:v1`);
      const mounted = await buildah("mount", container);
      for (const [index, content] of files.entries())
        assert.ok(readFileSync(`${mounted}/file-${index}`).equals(content));
      await buildah("config", "--label", "more=yes", container);
      await buildah("commit", "--rm", container, `docker://${at("us")}/${BUILT}:v2`);
      await until("eu has v2", () => buildah("pull", `${at("eu")}/${BUILT}:v2`));
    });

    test("pushes zstd layers at us; eu gives them back", async () => {
      // Bytes that it has not sent in another form: it would mount those.
      const content = randomBytes(150_000);
      writeFileSync(lab().tools.path("zstd-file"), content);
      const built = await buildah("from", "scratch");
      await buildah("add", built, lab().tools.path("zstd-file"), "/file");
      await buildah("commit", "--rm", built, "localhost/zstd");
      const target = `docker://${at("us")}/buildah/zstd:v1`;
      await buildah("push", "--format", "oci", "--compression-format", "zstd", "localhost/zstd", target);
      const raw = await until("eu has it", async () => {
        const answer = await lab().cluster.at("eu").call("/v2/buildah/zstd/manifests/v1");
        return answer.status === 200 && answer.body.toString();
      });
      assert.equal(JSON.parse(raw).layers[0].mediaType, "application/vnd.oci.image.layer.v1.tar+zstd");
      await buildah("rmi", "--all", "--force");
      const container = await buildah("from", `${at("eu")}/buildah/zstd:v1`);
      assert.ok(readFileSync(`${await buildah("mount", container)}/file`).equals(content));
      await buildah("rm", container);
    });

    test("a push that is cut off goes through when it is made again", async () => {
      await using relay = await CuttingRelay.start(lab().cluster.gateway("us"));
      relay.cutOnceAfter(60_000);
      const options = ["--creds", `admin:${lab().cluster.adminPassword}`];
      const trust = ["--cert-dir", `${lab().cluster.home}/certs.d/${at("us")}`];
      const target = `docker://${relay.registry}/buildah/cut:v1`;
      const push = (): Promise<string> => buildah("push", ...options, ...trust, `${at("eu")}/buildah/zstd:v1`, target);
      // By itself, unless the cut ends in an error that it does not repeat.
      await push().catch(push);
      assert.equal(relay.cuts, 1);
      await until("ap has it", () => buildah("pull", `${at("ap")}/buildah/cut:v1`));
    });

    test("a manifest list of its own is pushed whole at ap", async () => {
      const layout = writeMultiArchLayout(lab().tools.path("two"), "v1", ["amd64", "arm64"]);
      await buildah("manifest", "create", "localhost/list");
      await buildah("manifest", "add", "--all", "localhost/list", `oci:${lab().tools.path("two")}:v1`);
      await buildah("manifest", "push", "--all", "localhost/list", `docker://${at("ap")}/buildah/list:v1`);
      const raw = await until("eu has the list", () => buildah("manifest", "inspect", `${at("eu")}/buildah/list:v1`));
      const { manifests } = JSON.parse(raw) as { manifests: Array<{ digest: string }> };
      assert.deepEqual(
        manifests.map(({ digest }) => digest),
        layout.images.map(({ digest }) => digest),
      );
    });
  });

  describe("podman", { skip: needs("podman", "buildah") || needsRoot() }, () => {
    test("says its version", async (t) => t.diagnostic(await podman("--version")));

    test("login at each site, and not with a wrong password", async () => {
      for (const site of SITES) {
        const said = await lab().tools.login("podman", "login", "-u", "admin", "--password-stdin", at(site));
        assert.match(said, /Login Succeeded/);
      }
      assert.equal(await podman("login", "--get-login", at("ap")), "admin");
      const args = ["login", "-u", "admin", "--password-stdin", at("eu")];
      assert.match(await lab().tools.fails("podman", args, { input: "wrong" }), /invalid username\/password/);
      await lab().tools.login("podman", "login", "-u", "admin", "--password-stdin", at("eu"));
    });

    test("pulls by tag at us and by digest at ap, and knows what it got", async () => {
      await podman("rmi", "--all", "--force");
      const byTag = await podman("pull", "--quiet", `${at("us")}/${BUILT}:v1`);
      const byDigest = await podman("pull", "--quiet", `${at("ap")}/${BUILT}@${built}`);
      assert.equal(byDigest, byTag);
      const [told] = JSON.parse(await podman("image", "inspect", byTag));
      assert.equal(told.RootFS.Layers.length, LAYERS);
      assert.equal(told.Labels.layer, String(LAYERS - 1));
    });

    test("pushes under another name at us; ap lists its tags", async () => {
      const name = `${at("us")}/podman/app`;
      for (const tag of ["v1", "v2"]) {
        await podman("tag", `${at("us")}/${BUILT}:v1`, `${name}:${tag}`);
        await podman("push", "--quiet", `${name}:${tag}`);
      }
      // podman always sends the config, unless it is there already.
      await lab().mounted("podman/app", LAYERS, 1);
      await until("ap lists both", async () => {
        const listed = await podman("search", "--list-tags", "--format", "json", `${at("ap")}/podman/app`);
        assert.deepEqual(JSON.parse(listed), [{ Name: `${at("ap")}/podman/app`, Tags: ["v1", "v2"] }]);
      });
    });

    test("search finds repositories by their names", async () => {
      const found = await podman("search", "--format", "{{.Name}}", `${at("eu")}/podman`);
      assert.ok(found.split("\n").includes(`${at("eu")}/podman/app`), found);
    });

    test("manifest inspect shows an index of another site", async () => {
      const raw = await podman("manifest", "inspect", `${at("us")}/buildah/list:v1`);
      assert.equal(JSON.parse(raw).manifests.length, 2);
    });

    test("with sites as mirrors of one name, goes on to the next while the first is down", async () => {
      const config = lab().tools.path("mirrors.conf");
      const mirrors = ["127.0.0.1:1", at("us")].map((location) => `[[registry.mirror]]\nlocation = "${location}"\n`);
      writeFileSync(config, `[[registry]]\nlocation = "registry.example.com"\n${mirrors.join("")}`);
      await podman("rmi", "--all", "--force");
      const name = `registry.example.com/${BUILT}:v1`;
      await lab().tools.ok("env", `CONTAINERS_REGISTRIES_CONF=${config}`, "podman", "pull", "--quiet", name);
      assert.match(await podman("images", "--format", "{{.Repository}}:{{.Tag}}"), new RegExp(`^${name}$`, "m"));
    });

    test("logout: then what is private is refused", async () => {
      await podman("logout", at("ap"));
      const said = await lab().tools.fails("podman", ["pull", `${at("ap")}/podman/app:v2`]);
      assert.match(said, /unauthorized|authentication required/);
    });
  });
}
