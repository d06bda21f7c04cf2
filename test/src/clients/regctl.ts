import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { CuttingRelay } from "../harness/cutting-relay.ts";
import { type MultiArchLayout, writeMultiArchLayout } from "../harness/image-layout.ts";
import { digestOf } from "../harness/oci-client.ts";
import { needs } from "../harness/programs.ts";
import { until } from "../harness/until.ts";
import { type Lab, registry, SITES } from "./lab.ts";

const CHUNK = 256 * 1024;
const CHUNKS = 8;
/** Of the index of two platforms: a config and a layer each. */
const BLOBS = 4;

/** regctl: trust by `registry set --cacert`, HTTP/2, and the one that sends chunks and resumes. */
export function regctlTests(lab: () => Lab): void {
  const at = (site: string, image = ""): string => `${registry(lab(), site)}${image && `/${image}`}`;
  // Without Go's own SSL_CERT_FILE: what it was told to trust has to do.
  const line = (...args: string[]): string[] => ["-u", "SSL_CERT_FILE", "regctl", ...args];
  const regctl = (...args: string[]): Promise<string> => lab().tools.ok("env", ...line(...args));
  const fails = (...args: string[]): Promise<string> => lab().tools.fails("env", line(...args));
  const trust = (name: string, ...settings: string[]): Promise<string> =>
    regctl("registry", "set", name, "--tls", "enabled", "--cacert", lab().cluster.ca, "--skip-check", ...settings);
  const login = (name: string): Promise<string> =>
    lab().tools.login("env", ...line("registry", "login", name, "-u", "admin", "--pass-stdin"));
  const digestAt = (site: string, image: string): Promise<string> => regctl("manifest", "head", at(site, image));
  const shows = (site: string, image: string, digest: string): Promise<void> =>
    until(`${site} has ${image}`, async () => assert.equal(await digestAt(site, image), digest));
  const putBlob = (repository: string, file: string): Promise<string> =>
    lab().tools.ok("sh", "-c", `env -u SSL_CERT_FILE regctl blob put ${repository} < ${file}`);
  let made: MultiArchLayout;

  describe("regctl", { skip: needs("regctl") }, () => {
    test("says its version", async (t) => t.diagnostic(`regctl ${await regctl("version", "--format", "{{.VCSTag}}")}`));

    test("login at each site, and not with a wrong password, nor without trust", async () => {
      assert.match(await fails("registry", "login", at("eu"), "-u", "admin", "-p", "wrong"), /unknown authority/);
      for (const site of SITES) {
        await trust(at(site));
        await login(at(site));
      }
      assert.match(await fails("registry", "login", at("eu"), "-u", "admin", "-p", "wrong"), /unauthorized/);
      await login(at("eu"));
    });

    test("image copy pushes an index with two platforms at eu; us and ap give it whole", async () => {
      made = writeMultiArchLayout(lab().tools.path("for-regctl"), "v1", ["amd64", "arm64"]);
      await regctl("image", "copy", `ocidir://${lab().tools.path("for-regctl")}:v1`, at("eu", "regctl/app:v1"));
      await shows("us", "regctl/app:v1", made.digest);
      await shows("ap", `regctl/app@${made.digest}`, made.digest);
      await regctl("image", "copy", at("us", "regctl/app:v1"), `ocidir://${lab().tools.path("from-us")}:v1`);
      for (const { digest, config, layers } of made.images) {
        for (const blob of [digest, config, ...layers]) {
          const file = lab().tools.path("from-us", "blobs", "sha256", blob.slice("sha256:".length));
          assert.equal(digestOf(readFileSync(file)), blob);
        }
      }
      assert.equal(
        await regctl("manifest", "head", "--platform", "linux/arm64", at("ap", "regctl/app:v1")),
        made.images[1]?.digest,
      );
    });

    test("image copy between repositories mounts every blob; between sites it copies", async () => {
      await regctl("image", "copy", at("us", "regctl/app:v1"), at("us", "regctl/mounted:v1"));
      await lab().mounted("regctl/mounted", BLOBS);
      await shows("ap", "regctl/mounted:v1", made.digest);
      await regctl("image", "copy", at("us", "regctl/app:v1"), at("ap", "regctl/copied:v1"));
      await shows("eu", "regctl/copied:v1", made.digest);
    });

    test("a blob goes up in chunks, one PATCH each", async () => {
      await trust(at("us"), "--blob-max", String(CHUNK), "--blob-chunk", String(CHUNK));
      const content = randomBytes(CHUNK * CHUNKS);
      writeFileSync(lab().tools.path("chunked"), content);
      assert.equal(await putBlob(at("us", "regctl/chunked"), lab().tools.path("chunked")), digestOf(content));
      await until("every PATCH is told", () => {
        const told = lab().requests("push.blob", "regctl/chunked");
        assert.equal(told.filter((span) => span.attributes["http.request.method"] === "PATCH").length, CHUNKS);
      });
      await regctl("blob", "head", at("eu", "regctl/chunked"), digestOf(content));
    });

    test("cut off in mid-chunk, it sends that chunk again and goes on with the same upload", async () => {
      await using relay = await CuttingRelay.start(lab().cluster.gateway("us"));
      await trust(relay.registry, "--blob-max", String(CHUNK), "--blob-chunk", String(CHUNK));
      await login(relay.registry);
      const content = randomBytes(CHUNK * CHUNKS);
      writeFileSync(lab().tools.path("cut"), content);
      relay.cutOnceAfter(CHUNK * (CHUNKS / 2) + 1_000);
      assert.equal(await putBlob(`${relay.registry}/regctl/cut`, lab().tools.path("cut")), digestOf(content));
      assert.equal(relay.cuts, 1);
      const answered = (method: string, status: string): number =>
        lab()
          .requests("push.blob", "regctl/cut")
          .filter((span) => span.attributes["http.request.method"] === method)
          .filter((span) => span.attributes["http.response.status_code"] === status).length;
      await until("all chunks are told", () => assert.equal(answered("PATCH", "202"), CHUNKS));
      assert.equal(answered("POST", "202"), 1);
      await until("ap gives the bytes", async () => {
        await regctl("blob", "head", at("ap", "regctl/cut"), digestOf(content));
        await lab().cluster.at("ap").pullBlob("regctl/cut", digestOf(content), content.length);
      });
    });

    test("artifact put: no config, a file with its title; artifact get gives it at another site", async () => {
      writeFileSync(lab().tools.path("note.txt"), "a note");
      const reference = at("eu", "regctl/artifact:v1");
      const options = ["--artifact-type", "application/vnd.example.note", "--file-title", "--strip-dirs"];
      await regctl("artifact", "put", ...options, "-f", lab().tools.path("note.txt"), reference);
      await until("us has it", () => digestAt("us", "regctl/artifact:v1"));
      const manifest = JSON.parse(
        await regctl("manifest", "get", "--format", "raw-body", at("us", "regctl/artifact:v1")),
      );
      assert.equal(manifest.artifactType, "application/vnd.example.note");
      assert.equal(manifest.config.mediaType, "application/vnd.oci.empty.v1+json");
      assert.equal(await regctl("artifact", "get", at("us", "regctl/artifact:v1")), "a note");
    });

    test("an SBOM is put at a subject; artifact list, get and tree find it at another site", async () => {
      writeFileSync(lab().tools.path("sbom.json"), '{"spdxVersion":"SPDX-2.3"}');
      const type = ["--artifact-type", "application/spdx+json"];
      const subject = (site: string): string => at(site, "regctl/app:v1");
      await regctl("artifact", "put", ...type, "--subject", subject("eu"), "-f", lab().tools.path("sbom.json"));
      const filter = ["--filter-artifact-type", "application/spdx+json"];
      await until("ap lists it", async () => {
        const listed = JSON.parse(await regctl("artifact", "list", ...filter, "--format", "{{json .}}", subject("ap")));
        assert.equal(listed.descriptors.length, 1);
        assert.equal(listed.subject.Digest, made.digest);
      });
      assert.equal(
        await regctl("artifact", "get", ...filter, "--subject", subject("ap")),
        '{"spdxVersion":"SPDX-2.3"}',
      );
      assert.match(await regctl("artifact", "tree", subject("us")), /application\/spdx\+json/);
    });

    test("image copy --referrers takes what is attached along", async () => {
      await regctl("image", "copy", "--referrers", at("ap", "regctl/app:v1"), at("ap", "regctl/with:v1"));
      assert.match(await regctl("artifact", "list", at("ap", "regctl/with:v1")), /application\/spdx\+json/);
    });

    test("index create names images that are there", async () => {
      const refs = made.images.map(({ digest }) => at("us", `regctl/app@${digest}`));
      await regctl("index", "create", ...refs.flatMap((ref) => ["--ref", ref]), at("us", "regctl/index:v1"));
      await until("eu has the index", () => digestAt("eu", "regctl/index:v1"));
      const index = JSON.parse(await regctl("manifest", "get", "--format", "raw-body", at("eu", "regctl/index:v1")));
      assert.deepEqual(
        index.manifests.map(({ digest }: { digest: string }) => digest),
        made.images.map(({ digest }) => digest),
      );
    });

    test("image mod writes a changed image; tag ls and repo ls show what is there", async () => {
      await regctl("image", "mod", "--label", "a=b", "--create", at("eu", "regctl/app:v2"), at("eu", "regctl/app:v1"));
      await until("ap lists v1 and v2", async () =>
        assert.equal(await regctl("tag", "ls", at("ap", "regctl/app")), "v1\nv2"),
      );
      assert.match(await regctl("repo", "ls", at("us")), /^regctl\/app$/m);
    });

    test("an image in sha512 throughout, mounted on, with a referrer: the same digest at every site", async () => {
      const algorithm = ["--digest-algo", "sha512", "--create", at("eu", "regctl/app:v512")];
      await regctl("image", "mod", ...algorithm, at("eu", `regctl/app@${made.images[0]?.digest}`));
      const digest = await digestAt("eu", "regctl/app:v512");
      assert.match(digest, /^sha512:/);
      await shows("us", "regctl/app:v512", digest);
      await regctl("image", "copy", at("us", "regctl/app:v512"), at("us", "regctl/long:v512"));
      // The config and the layer.
      await lab().mounted("regctl/long", 2);
      await shows("ap", `regctl/long@${digest}`, digest);
      const subject = ["--subject", at("us", `regctl/app@${digest}`), "-f", lab().tools.path("sbom.json")];
      await regctl("artifact", "put", "--artifact-type", "application/spdx+json", ...subject);
      await until("ap lists it", async () =>
        assert.match(await regctl("artifact", "list", at("ap", "regctl/app:v512")), /application\/spdx\+json/),
      );
    });

    test("tag rm takes a tag away, manifest rm the digest, at every site", async () => {
      await regctl("tag", "rm", at("us", "regctl/copied:v1"));
      await fails("manifest", "head", at("us", "regctl/copied:v1"));
      assert.equal(await digestAt("us", `regctl/copied@${made.digest}`), made.digest);
      await regctl("manifest", "rm", at("us", `regctl/copied@${made.digest}`));
      for (const site of SITES) {
        await until(`${site} says not found`, async () =>
          assert.match(await fails("manifest", "head", at(site, `regctl/copied@${made.digest}`)), /not found/),
        );
      }
      assert.equal(await digestAt("eu", "regctl/app:v1"), made.digest);
    });

    test("blob delete of what no manifest needs; of what one needs it is refused", async () => {
      // One of which no other site told a client that it is there: that would keep it (consistency.md, section 7).
      const content = randomBytes(1_000);
      writeFileSync(lab().tools.path("alone"), content);
      await putBlob(at("us", "regctl/alone"), lab().tools.path("alone"));
      await regctl("blob", "delete", at("us", "regctl/alone"), digestOf(content));
      await fails("blob", "head", at("us", "regctl/alone"), digestOf(content));
      const [layer] = made.images[0]?.layers ?? [];
      assert.match(await fails("blob", "delete", at("us", "regctl/app"), String(layer)), /405|unsupported/i);
    });

    test("logout: then what is private is refused", async () => {
      await regctl("registry", "logout", at("ap"));
      // It would take docker's login of the clients before it.
      const none = `DOCKER_CONFIG=${lab().tools.path("none")}`;
      const args = ["-u", "SSL_CERT_FILE", none, "regctl", "manifest", "head", at("ap", "regctl/app:v1")];
      assert.match(await lab().tools.fails("env", args), /unauthorized/);
    });
  });
}
