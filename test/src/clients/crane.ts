import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { CuttingRelay } from "../harness/cutting-relay.ts";
import { tarOf, writeMultiArchLayout } from "../harness/image-layout.ts";
import { digestOf } from "../harness/oci-client.ts";
import { needs } from "../harness/programs.ts";
import type { ToolBox } from "../harness/tool-box.ts";
import { until } from "../harness/until.ts";
import { identityToken, type Lab, registry, SITES } from "./lab.ts";

/** crane: trust by Go's SSL_CERT_FILE, its only way; HTTP/2. */
export function craneTests(lab: () => Lab): void {
  describe("crane, over HTTP/2", { skip: needs("crane") }, () => {
    let tools: ToolBox;
    const crane = (...args: string[]): Promise<string> => tools.ok("crane", ...args);
    const at = (site: string, image = ""): string => `${registry(lab(), site)}${image && `/${image}`}`;
    /** Waits until the site's answer is that. */
    const shows = (site: string, what: string, args: string[], wanted: string): Promise<void> =>
      until(`${site} shows ${what}`, async () => assert.equal(await crane(...args), wanted));
    const layers = [tarOf("one", randomBytes(60_000)), tarOf("two", randomBytes(5_000))];
    let digest = "";

    before(() => {
      tools = lab().tools;
      layers.forEach((layer, index) => void writeFileSync(tools.path(`layer-${index}.tar`), layer));
    });

    test("says its version", async (t) => t.diagnostic(`crane ${await crane("version")}`));

    test("auth login at each site; what was kept is refused when it is wrong", async () => {
      for (const site of SITES) {
        await tools.login("crane", "auth", "login", at(site), "-u", "admin", "--password-stdin");
      }
      const config = JSON.parse(readFileSync(tools.path("docker", "config.json"), "utf8"));
      config.auths[at("ap")] = { auth: Buffer.from("admin:wrong").toString("base64") };
      mkdirSync(tools.path("wrong"));
      writeFileSync(tools.path("wrong", "config.json"), JSON.stringify(config));
      const said = await tools.fails("env", [`DOCKER_CONFIG=${tools.path("wrong")}`, "crane", "catalog", at("ap")]);
      assert.match(said, /UNAUTHORIZED|401/);
    });

    test("it speaks HTTP/2 with the gateway", async () => {
      const { stderr } = await tools.run("env", ["GODEBUG=http2debug=1", "crane", "catalog", at("eu")]);
      assert.match(stderr, /http2: Transport received HEADERS/);
    });

    test("append pushes a new image at eu; digest and validate at us and ap", async () => {
      const base = ["append", "--oci-empty-base", "-f", tools.path("layer-0.tar"), "-f", tools.path("layer-1.tar")];
      const named = await crane(...base, "-t", at("eu", "crane/app:v1"));
      digest = named.slice(named.indexOf("@") + 1);
      for (const site of ["us", "ap"]) {
        await shows(site, "the tag", ["digest", at(site, "crane/app:v1")], digest);
        const checked = await tools.run("crane", ["validate", "--remote", at(site, "crane/app:v1")]);
        assert.match(checked.stdout, /PASS/);
      }
    });

    test("pull by tag at us and by digest at ap, as docker's tarball and as a layout", async () => {
      await crane("pull", at("us", "crane/app:v1"), tools.path("app.tar"));
      await crane("pull", "--format=oci", at("ap", `crane/app@${digest}`), tools.path("app-layout"));
      const stored = tools.path("app-layout", "blobs", "sha256", digest.slice("sha256:".length));
      assert.equal(digestOf(readFileSync(stored)), digest);
      await crane("export", at("ap", "crane/app:v1"), tools.path("flat.tar"));
      assert.ok(readFileSync(tools.path("flat.tar")).includes(layers[0]!.subarray(512, 60_512)));
    });

    test("push of a tarball and of a layout at us; ls at eu", async () => {
      await crane("push", tools.path("app.tar"), at("us", "crane/pushed:tarball"));
      await crane("push", tools.path("app-layout"), at("us", "crane/pushed:layout"));
      await shows("eu", "both tags", ["ls", at("eu", "crane/pushed")], "layout\ntarball");
      assert.equal(await crane("digest", at("eu", "crane/pushed:layout")), digest);
    });

    test("push of a layout with an index of two platforms at ap", async () => {
      const made = writeMultiArchLayout(tools.path("two"), "v1", ["amd64", "arm64"]);
      await crane("push", "--index", tools.path("two"), at("ap", "crane/two:v1"));
      const pushed = await crane("digest", at("ap", "crane/two:v1"));
      await shows("eu", "the index", ["digest", at("eu", "crane/two:v1")], pushed);
      await crane("validate", "--remote", at("us", `crane/two@${pushed}`));
      assert.match(await crane("manifest", at("us", `crane/two@${made.digest}`)), new RegExp(made.images[1]!.digest));
      assert.equal(
        await crane("digest", "--platform", "linux/arm64", at("us", `crane/two@${made.digest}`)),
        made.images[1]!.digest,
      );
    });

    test("index append makes an index of images that are there already", async () => {
      const members = [at("us", "crane/app:v1"), at("us", "crane/pushed:tarball")];
      await crane("index", "append", "-t", at("us", "crane/index:v1"), "-m", members[0]!, "-m", members[1]!);
      await until("eu has the index whole", () => crane("validate", "--remote", at("eu", "crane/index:v1")));
      const index = JSON.parse(await crane("manifest", at("eu", "crane/index:v1")));
      assert.equal(index.manifests[0].digest, digest);
      assert.equal(index.manifests.length, 2);
    });

    test("copy between sites keeps the digest, and copies all tags at once", async () => {
      await crane("copy", at("eu", "crane/app:v1"), at("us", "crane/copied:v1"));
      await crane("copy", "--all-tags", at("us", "crane/pushed"), at("ap", "crane/all"));
      await shows("ap", "the copy", ["digest", at("ap", "crane/copied:v1")], digest);
      assert.equal(await crane("ls", at("ap", "crane/all")), "layout\ntarball");
    });

    test("copy within a site mounts every blob instead of sending it", async () => {
      await crane("copy", at("us", "crane/app:v1"), at("us", "crane/mounted:v1"));
      assert.equal(await crane("digest", at("us", "crane/mounted:v1")), digest);
      await lab().mounted("crane/mounted", layers.length + 1);
    });

    test("a push that is cut off in mid-layer succeeds when it is made again", async () => {
      await using relay = await CuttingRelay.start(lab().cluster.gateway("us"));
      await tools.login("crane", "auth", "login", relay.registry, "-u", "admin", "--password-stdin");
      writeFileSync(tools.path("big.tar"), tarOf("big", randomBytes(4_000_000)));
      relay.cutOnceAfter(2_000_000);
      // crane itself repeats what ended in a reset, not what Go's HTTP/2 client gave up on the same connection.
      const push = ["append", "--oci-empty-base", "-f", tools.path("big.tar"), "-t", `${relay.registry}/crane/cut:v1`];
      const named = await until("the push succeeds", () => crane(...push));
      assert.equal(relay.cuts, 1);
      await shows("ap", "it", ["digest", at("ap", "crane/cut:v1")], named.slice(named.indexOf("@") + 1));
      await crane("validate", "--remote", at("ap", "crane/cut:v1"));
    });

    test("an identity token in place of a password buys tokens for pull and push", async () => {
      mkdirSync(tools.path("identity"));
      const auths = { [at("us")]: { identitytoken: await identityToken(lab(), "eu") } };
      writeFileSync(tools.path("identity", "config.json"), JSON.stringify({ auths }));
      const env = `DOCKER_CONFIG=${tools.path("identity")}`;
      await tools.ok("env", env, "crane", "copy", at("us", "crane/app:v1"), at("us", "crane/app:by-token"));
    });

    test("mutate sets a label and an annotation; append adds a layer on what another site has", async () => {
      await crane(
        "mutate",
        "--label",
        "a=b",
        "--annotation",
        "c=d",
        "-t",
        at("ap", "crane/app:v2"),
        at("ap", "crane/app:v1"),
      );
      await until("eu has v2", () => crane("digest", at("eu", "crane/app:v2")));
      assert.deepEqual(JSON.parse(await crane("config", at("eu", "crane/app:v2"))).config.Labels, { a: "b" });
      assert.deepEqual(JSON.parse(await crane("manifest", at("eu", "crane/app:v2"))).annotations, { c: "d" });
      const base = ["append", "-b", at("us", "crane/app:v1"), "-f", tools.path("layer-1.tar")];
      await crane(...base, "-t", at("us", "crane/app:v3"));
      await until("ap has v3", () => crane("validate", "--remote", at("ap", "crane/app:v3")));
      assert.equal(JSON.parse(await crane("manifest", at("ap", "crane/app:v3"))).layers.length, 3);
    });

    test("tag moves a tag; flatten writes an image of one layer", async () => {
      await crane("tag", at("us", "crane/app:v3"), "latest");
      const v3 = await crane("digest", at("us", "crane/app:v3"));
      await shows("eu", "the tag", ["digest", at("eu", "crane/app:latest")], v3);
      await crane("flatten", "-t", at("eu", "crane/flat:v1"), at("eu", "crane/app:latest"));
      assert.equal(JSON.parse(await crane("manifest", at("eu", "crane/flat:v1"))).layers.length, 1);
    });

    test("catalog lists every repository at each site", async () => {
      const wanted = ["all", "app", "copied", "cut", "flat", "index", "mounted", "pushed", "two"].map(
        (name) => `crane/${name}`,
      );
      for (const site of SITES) {
        await until(`${site} shows all repositories`, async () => {
          const names = (await crane("catalog", at(site))).split("\n").filter((name) => name.startsWith("crane/"));
          assert.deepEqual(names, wanted);
        });
      }
    });

    test("blob gives the bytes that the manifest names", async () => {
      const { config } = JSON.parse(await crane("manifest", at("ap", "crane/app:v1")));
      const { stdout } = await tools.run("crane", ["blob", at("ap", `crane/app@${config.digest}`)]);
      assert.equal(digestOf(Buffer.from(stdout)), config.digest);
    });

    test("delete of a tag leaves the digest, delete of the digest leaves nothing, at every site", async () => {
      await crane("delete", at("us", "crane/copied:v1"));
      assert.match(await tools.fails("crane", ["digest", at("us", "crane/copied:v1")]), /MANIFEST_UNKNOWN/);
      assert.equal(await crane("digest", at("us", `crane/copied@${digest}`)), digest);
      await crane("delete", at("us", `crane/copied@${digest}`));
      for (const site of SITES) {
        await until(`${site} says unknown`, async () => {
          const said = await tools.fails("crane", ["manifest", at(site, `crane/copied@${digest}`)]);
          assert.match(said, /(MANIFEST|NAME)_UNKNOWN/);
        });
      }
      assert.equal(await crane("digest", at("eu", "crane/app:v1")), digest);
    });

    test("without a login what is private is refused", async () => {
      const empty = tools.path("none");
      assert.ok(!existsSync(empty));
      const said = await tools.fails("env", [`DOCKER_CONFIG=${empty}`, "crane", "manifest", at("us", "crane/app:v1")]);
      assert.match(said, /UNAUTHORIZED|401/);
    });
  });
}
