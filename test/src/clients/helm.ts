import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { needs } from "../harness/programs.ts";
import { until } from "../harness/until.ts";
import { type Lab, registry, SITES } from "./lab.ts";

const NAME = "helm/web";
const CONFIG = "application/vnd.cncf.helm.config.v1+json";
const CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov";

/**
 * helm: trust by `--ca-file` with each command, logins in a file of its own, HTTP/2. A chart is an artifact whose tag is
 * its version, with `_` where that has a `+`. Nothing here needs a Kubernetes cluster.
 */
export function helmTests(lab: () => Lab): void {
  const at = (site: string, image = ""): string => `${registry(lab(), site)}${image && `/${image}`}`;
  const oci = (site: string, image: string): string => `oci://${at(site, image)}`;
  const path = (...parts: string[]): string => lab().tools.path("helm", ...parts);
  const trust = (): string[] => ["--ca-file", `${lab().cluster.home}/ca.pem`];
  const line = (command: string, ...args: string[]): string[] => [
    // Without a login of its own it would take docker's, which other clients leave behind.
    ...["-u", "SSL_CERT_FILE", "-C", path(), `DOCKER_CONFIG=${path("docker")}`, "helm", ...command.split(" "), ...args],
  ];
  const helm = (command: string, ...args: string[]): Promise<string> =>
    lab().tools.ok("env", ...line(command, ...args));
  const fails = (command: string, ...args: string[]): Promise<string> =>
    lab().tools.fails("env", line(command, ...args));
  const manifestAt = (site: string, tag: string, name = NAME): Promise<ChartManifest> =>
    until(`${site} has ${name}:${tag}`, async () => {
      const answer = await lab().cluster.at(site).call(`/v2/${name}/manifests/${tag}`);
      assert.equal(answer.status, 200);
      return JSON.parse(answer.body.toString()) as ChartManifest;
    });
  /** Packs the chart under a version and pushes it; answers the digest that helm tells. */
  const push = async (site: string, version: string): Promise<string> => {
    await helm("package", "--version", version, "web");
    const told = await lab().tools.run("env", line("push", `web-${version}.tgz`, oci(site, "helm"), ...trust()));
    assert.equal(told.code, 0, told.stderr);
    return /Digest: (sha256:\S+)/.exec(told.stdout + told.stderr)?.[1] ?? "none";
  };

  describe("helm", { skip: needs("helm") }, () => {
    before(() => {
      mkdirSync(path("web", "templates"), { recursive: true });
      writeFileSync(path("web", "Chart.yaml"), "apiVersion: v2\nname: web\nversion: 0.0.0\ndescription: a page\n");
      writeFileSync(path("web", "values.yaml"), "greeting: hello\n");
      writeFileSync(path("web", "README.md"), "# How to greet\n");
      writeFileSync(
        path("web", "templates", "page.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  page: {{ .Values.greeting }}\n",
      );
    });

    test("says its version", async (t) => t.diagnostic(`helm ${await helm("version", "--template", "{{.Version}}")}`));

    test("login at each site, and not with a wrong password, nor without trust", async () => {
      for (const site of SITES) {
        const args = line("registry login", at(site), "-u", "admin", "--password-stdin", ...trust());
        await lab().tools.login("env", ...args);
      }
      const wrong = ["-u", "admin", "-p", "wrong"];
      assert.match(await fails("registry login", at("eu"), ...wrong, ...trust()), /401|unauthorized|denied/i);
      assert.match(await fails("registry login", at("eu"), ...wrong), /unknown authority/);
    });

    test("a chart pushed at eu: us shows it, ap pulls it, the very bytes", async () => {
      const digest = await push("eu", "1.0.0");
      const manifest = await manifestAt("us", "1.0.0");
      assert.equal(manifest.config.mediaType, CONFIG);
      assert.deepEqual(
        manifest.layers.map(({ mediaType }) => mediaType),
        [CONTENT],
      );
      assert.match(await helm("show chart", oci("us", NAME), "--version", "1.0.0", ...trust()), /description: a page/);
      assert.match(await helm("show values", oci("us", NAME), "--version", "1.0.0", ...trust()), /greeting: hello/);
      assert.match(await helm("show readme", oci("us", NAME), "--version", "1.0.0", ...trust()), /How to greet/);
      await manifestAt("ap", "1.0.0");
      mkdirSync(path("pulled"));
      const chart = readFileSync(path("web-1.0.0.tgz"));
      await helm("pull", oci("ap", NAME), "--version", "1.0.0", "-d", "pulled", ...trust());
      assert.ok(readFileSync(path("pulled", "web-1.0.0.tgz")).equals(chart));
      await helm("pull", `${oci("ap", NAME)}@${digest}`, "--untar", "--untardir", "by-digest", ...trust());
      assert.match(readFileSync(path("by-digest", "web", "values.yaml"), "utf8"), /hello/);
    });

    test("the newest version, and the newest in a range, is found among the tags of another site", async () => {
      for (const version of ["1.1.0", "1.1.5", "2.0.0-rc.1"]) await push("us", version);
      await manifestAt("ap", "2.0.0-rc.1");
      const shown = async (...args: string[]): Promise<string | undefined> =>
        /^version: (.*)$/m.exec(await helm("show chart", oci("ap", NAME), ...args, ...trust()))?.[1];
      assert.equal(await shown(), "1.1.5");
      assert.equal(await shown("--version", "~1.0"), "1.0.0");
      assert.equal(await shown("--version", "^1.0.0"), "1.1.5");
      assert.equal(await shown("--devel"), "2.0.0-rc.1");
    });

    test("build metadata: + in the version, _ in the tag", async () => {
      await push("eu", "1.2.0+build.7");
      await manifestAt("us", "1.2.0_build.7");
      const shown = await helm("show chart", oci("us", NAME), "--version", "1.2.0+build.7", ...trust());
      assert.match(shown, /^version: 1\.2\.0\+build\.7$/m);
    });

    test("a provenance file is pushed with the chart, and pulled with it", async () => {
      await helm("package", "--version", "1.3.0", "web");
      writeFileSync(path("web-1.3.0.tgz.prov"), "-----BEGIN PGP SIGNED MESSAGE-----\nnot checked by push or pull\n");
      await helm("push", "web-1.3.0.tgz", oci("us", "helm"), ...trust());
      const { layers } = await manifestAt("ap", "1.3.0");
      assert.deepEqual(layers.map(({ mediaType }) => mediaType).sort(), [CONTENT, PROVENANCE].sort());
      await helm("pull", oci("ap", NAME), "--version", "1.3.0", "--prov", "-d", "pulled", ...trust());
      const [sent, got] = [path("web-1.3.0.tgz.prov"), path("pulled", "web-1.3.0.tgz.prov")];
      assert.ok(readFileSync(got).equals(readFileSync(sent)));
    });

    test("template, and install as a dry run, straight from another site", async () => {
      const from = [oci("ap", NAME), "--version", "1.0.0", "--set", "greeting=servus", ...trust()];
      assert.match(await helm("template", "here", ...from), /name: here\ndata:\n {2}page: servus/);
      const told = await helm("install", "there", ...from, "--dry-run=client");
      assert.match(told, /name: there\ndata:\n {2}page: servus/);
    });

    test("a chart that depends on one in the registry", async () => {
      mkdirSync(path("shop"));
      writeFileSync(
        path("shop", "Chart.yaml"),
        `apiVersion: v2\nname: shop\nversion: 0.1.0\ndependencies:\n  - name: web\n    version: ^1.0.0\n    repository: ${oci("us", "helm")}\n`,
      );
      await helm("dependency update", "shop", ...trust());
      assert.match(readFileSync(path("shop", "Chart.lock"), "utf8"), /version: 1\.3\.0/);
      assert.match(await helm("template", "x", "shop"), /page: hello/);
    });

    test("the same chart again is no trouble; another client lists, moves and deletes versions", async () => {
      const first = await manifestAt("eu", "1.1.0");
      await helm("push", "web-1.1.0.tgz", oci("eu", "helm"), ...trust());
      assert.equal((await manifestAt("eu", "1.1.0")).layers[0]?.digest, first.layers[0]?.digest);
      const list = await until("ap lists what eu has", async () => {
        const answer = await lab().cluster.at("ap").call(`/v2/${NAME}/tags/list`);
        const { tags } = JSON.parse(answer.body.toString()) as { tags: string[] };
        assert.ok(tags.includes("1.2.0_build.7"));
        return tags;
      });
      assert.deepEqual(list, ["1.0.0", "1.1.0", "1.1.5", "1.2.0_build.7", "1.3.0", "2.0.0-rc.1"]);
      await lab().cluster.at("us").call(`/v2/${NAME}/manifests/1.1.5`, { method: "DELETE" });
      await until("ap does not have it", async () =>
        assert.match(await fails("pull", oci("ap", NAME), "--version", "1.1.5", ...trust()), /not found/),
      );
      await helm("show chart", oci("ap", NAME), "--version", "1.1.0", ...trust());
    });

    describe("beside other clients", { skip: needs("oras", "crane") }, () => {
      test("oras and crane list, show and copy what helm pushed, and helm reads the copy", async () => {
        const ca = `${lab().cluster.home}/ca.pem`;
        const login = ["login", at("ap"), "-u", "admin", "--password-stdin"];
        await lab().tools.login("oras", ...login, "--ca-file", ca);
        await lab().tools.login("crane", "auth", ...login);
        const tags = (await lab().tools.ok("oras", "repo", "tags", "--ca-file", ca, at("ap", NAME))).split("\n");
        assert.deepEqual((await lab().tools.ok("crane", "ls", at("ap", NAME))).split("\n"), tags);
        assert.ok(tags.includes("1.3.0"));
        const manifest = JSON.parse(await lab().tools.ok("crane", "manifest", at("ap", `${NAME}:1.3.0`)));
        assert.equal(manifest.config.mediaType, CONFIG);
        await lab().tools.ok("crane", "copy", at("ap", `${NAME}:1.3.0`), at("ap", "helm/copied/web:1.3.0"));
        await manifestAt("eu", "1.3.0", "helm/copied/web");
        const copied = await helm("show chart", oci("eu", "helm/copied/web"), "--version", "1.3.0", ...trust());
        assert.match(copied, /description: a page/);
      });
    });

    test("logout: then what is private is refused", async () => {
      await helm("registry logout", at("eu"));
      const refused = await fails("pull", oci("eu", NAME), "--version", "1.0.0", ...trust());
      assert.match(refused, /401|unauthorized|credential/i);
    });
  });
}

/** What of a chart's manifest the tests read. */
interface ChartManifest {
  readonly config: { readonly mediaType: string };
  readonly layers: ReadonlyArray<{ readonly mediaType: string; readonly digest: string }>;
}
