import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { digestOf, makeImage } from "../harness/oci-client.ts";
import { bearerChallenge, type RawAnswer, RawHttp } from "../harness/raw-http.ts";
import { until } from "../harness/until.ts";
import { type Lab, registry } from "./lab.ts";

const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
const LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
const ACCEPT = `${MANIFEST}, ${LIST}, application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json`;
const AGENT =
  "docker/27.3.1 go/go1.22.7 git-commit/41ca978 kernel/6.1 os/linux arch/amd64 UpstreamClient(Docker-Client/27.3.1)";
const NAME = "docker/app";

/** docker: there is no engine here, so its calls are made as its source makes them, over HTTP/1.1. */
export function dockerTests(lab: () => Lab): void {
  const open = new Map<string, RawHttp>();
  const at = (site: string): RawHttp => {
    const known = open.get(site) ?? new RawHttp(lab().cluster.gateway(site), lab().cluster.ca);
    open.set(site, known);
    return known;
  };
  const ask = (site: string, method: string, target: string, request: Parameters<RawHttp["ask"]>[2] = {}) =>
    at(site).ask(method, target, { ...request, headers: { "user-agent": AGENT, ...request.headers } });
  const basic = (password = lab().cluster.adminPassword): string =>
    `Basic ${Buffer.from(`admin:${password}`).toString("base64")}`;
  const image = dockerImage();
  let refreshToken = "";
  let service = "";

  /** As docker does once it is logged in: the kept refresh token buys an access token for the scopes at hand. */
  const bearer = async (site: string, ...scopes: string[]): Promise<Record<string, string>> => {
    const form = new URLSearchParams({
      client_id: "docker",
      grant_type: "refresh_token",
      refresh_token: refreshToken,
      service,
    });
    form.set("scope", scopes.join(" "));
    const answer = await ask(site, "POST", "/token", {
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: form.toString(),
    });
    assert.equal(answer.status, 200, answer.body.toString());
    return { authorization: `Bearer ${answer.json<{ access_token: string }>().access_token}` };
  };
  const scope = (name: string, actions = "pull,push"): string => `repository:${name}:${actions}`;

  const pushBlob = async (site: string, name: string, blob: Buffer): Promise<RawAnswer> => {
    const headers = await bearer(site, scope(name));
    const head = await ask(site, "HEAD", `/v2/${name}/blobs/${digestOf(blob)}`, { headers });
    assert.equal(head.status, 404);
    const opened = await ask(site, "POST", `/v2/${name}/blobs/uploads/`, { headers });
    assert.equal(opened.status, 202, opened.body.toString());
    assert.match(String(opened.headers.location), /^\/v2\//);
    assert.equal(opened.headers.range, "0-0");
    assert.ok(opened.headers["docker-upload-uuid"]);
    const patched = await ask(site, "PATCH", String(opened.headers.location), { headers, body: blob, chunked: true });
    assert.equal(patched.status, 202, patched.body.toString());
    assert.equal(patched.headers.range, `0-${blob.length - 1}`);
    assert.equal(patched.headers["docker-upload-uuid"], opened.headers["docker-upload-uuid"]);
    // docker parses the location, adds the digest to its query and encodes the query anew.
    const location = new URL(String(patched.headers.location), at(site).origin);
    location.searchParams.set("digest", digestOf(blob));
    return ask(site, "PUT", location.href, { headers });
  };

  describe("docker, its calls by hand", () => {
    after(() => {
      for (const http of open.values()) http[Symbol.dispose]();
    });

    test("login: the challenge, a token by Basic credentials, and a ping with it", async () => {
      const challenged = await ask("eu", "GET", "/v2/");
      assert.equal(challenged.status, 401);
      assert.equal(challenged.headers["docker-distribution-api-version"], "registry/2.0");
      const challenge = bearerChallenge(challenged);
      assert.equal(challenge.realm, `https://${registry(lab(), "eu")}/token`);
      assert.equal(challenge.scope, undefined);
      service = String(challenge.service);
      const query = new URLSearchParams({ account: "admin", client_id: "docker", offline_token: "true", service });
      const answer = await ask("eu", "GET", `${challenge.realm}?${query}`, { headers: { authorization: basic() } });
      assert.equal(answer.status, 200);
      const told = answer.json<{ token: string; access_token: string; refresh_token: string; expires_in: number }>();
      assert.equal(told.token, told.access_token);
      assert.ok(told.expires_in >= 300, `${told.expires_in} s`);
      refreshToken = told.refresh_token;
      const ping = await ask("eu", "GET", "/v2/", { headers: { authorization: `Bearer ${told.token}` } });
      assert.equal(ping.status, 200);
    });

    test("a wrong password and an unknown user get the same clear 401", async () => {
      const wrong = await ask("eu", "GET", `/token?service=${service}&client_id=docker&account=admin`, {
        headers: { authorization: basic("wrong") },
      });
      assert.equal(wrong.status, 401);
      assert.equal(wrong.error?.code, "UNAUTHORIZED");
      assert.match(String(wrong.error?.message), /password/);
      const unknown = await ask("eu", "GET", `/token?service=${service}&client_id=docker&account=nobody`, {
        headers: { authorization: `Basic ${Buffer.from("nobody:wrong").toString("base64")}` },
      });
      assert.equal(unknown.status, 401);
      assert.equal(unknown.error?.message, wrong.error?.message);
    });

    test("containerd's form: POST of the password, several scopes in one, for docker's build and pull", async () => {
      const form = { grant_type: "password", service, client_id: "containerd-client", username: "admin" };
      const post = (password: string) =>
        ask("us", "POST", "/token", {
          headers: { "content-type": "application/x-www-form-urlencoded; charset=utf-8" },
          body: new URLSearchParams({
            ...form,
            password,
            scope: `${scope(NAME)} ${scope("docker/other", "*")}`,
          }).toString(),
        });
      const answer = await post(lab().cluster.adminPassword);
      assert.equal(answer.status, 200, answer.body.toString());
      // On 400, 404 and 405 containerd would try again by GET.
      const refused = await post("wrong");
      assert.equal(refused.status, 401);
      assert.equal(refused.error?.code, "UNAUTHORIZED");
      const authorization = `Bearer ${answer.json<{ access_token: string }>().access_token}`;
      for (const name of [NAME, "docker/other"]) {
        const headers = { authorization, accept: ACCEPT };
        assert.equal((await ask("us", "HEAD", `/v2/${name}/manifests/none`, { headers })).status, 404, name);
      }
    });

    test("push: each blob by POST, a PATCH without Content-Range, and an empty PUT; then the manifest", async () => {
      for (const blob of [image.config, ...image.layers]) {
        const done = await pushBlob("eu", NAME, blob);
        assert.equal(done.status, 201, done.body.toString());
        assert.equal(done.headers["docker-content-digest"], digestOf(blob));
        const headers = await bearer("eu", scope(NAME));
        const head = await ask("eu", "HEAD", `/v2/${NAME}/blobs/${digestOf(blob)}`, { headers });
        assert.equal(head.status, 200);
        assert.equal(head.headers["content-length"], String(blob.length));
      }
      const put = await ask("eu", "PUT", `/v2/${NAME}/manifests/v1`, {
        headers: { ...(await bearer("eu", scope(NAME))), "content-type": MANIFEST },
        body: image.manifest,
      });
      assert.equal(put.status, 201, put.body.toString());
      assert.equal(put.headers["docker-content-digest"], image.digest);
      assert.match(String(put.headers.location), /^\/v2\//);
    });

    test("pull: HEAD of the tag, GET of the digest, and the blobs, with the refresh token of another site", async () => {
      for (const site of ["us", "ap"]) {
        const headers = { ...(await bearer(site, scope(NAME, "pull"))), accept: ACCEPT };
        const head = await until(`${site} has the tag`, async () => {
          const answer = await ask(site, "HEAD", `/v2/${NAME}/manifests/v1`, { headers });
          return answer.status === 200 && answer;
        });
        assert.ok(head);
        assert.equal(head.headers["docker-content-digest"], image.digest);
        assert.equal(head.headers["content-length"], String(image.manifest.length));
        assert.equal(head.headers["content-type"], MANIFEST);
        const manifest = await ask(site, "GET", `/v2/${NAME}/manifests/${image.digest}`, { headers });
        assert.ok(manifest.body.equals(image.manifest));
        for (const blob of [image.config, ...image.layers]) {
          const got = await ask(site, "GET", `/v2/${NAME}/blobs/${digestOf(blob)}`, {
            headers: { ...headers, "accept-encoding": "identity" },
          });
          assert.equal(got.status, 200);
          assert.ok(got.body.equals(blob));
        }
      }
    });

    test("a pull that broke off goes on with a range", async () => {
      const [layer] = image.layers;
      const headers = { ...(await bearer("us", scope(NAME, "pull"))), range: "bytes=1000-" };
      const rest = await ask("us", "GET", `/v2/${NAME}/blobs/${digestOf(layer!)}`, { headers });
      assert.equal(rest.status, 206);
      assert.equal(rest.headers["content-range"], `bytes 1000-${layer!.length - 1}/${layer!.length}`);
      assert.ok(rest.body.equals(layer!.subarray(1000)));
    });

    test("push of a layer that another repository has: mounted from there, at another site too", async () => {
      const digest = digestOf(image.layers[0]!);
      for (const site of ["eu", "us"]) {
        const name = `docker/mounted-at-${site}`;
        const headers = await bearer(site, scope(name), scope(NAME, "pull"));
        const mounted = await ask(
          site,
          "POST",
          `/v2/${name}/blobs/uploads/?mount=${digest}&from=${encodeURIComponent(NAME)}`,
          { headers },
        );
        assert.equal(mounted.status, 201, mounted.body.toString());
        assert.equal(mounted.headers["docker-content-digest"], digest);
        assert.match(String(mounted.headers.location), /^\/v2\//);
        const got = await ask(site, "GET", `/v2/${name}/blobs/${digest}`, { headers });
        assert.ok(got.body.equals(image.layers[0]!));
      }
    });

    test("a mount of what the source does not have opens an upload instead", async () => {
      const headers = await bearer("eu", scope("docker/mounted"), scope(NAME, "pull"));
      const missing = digestOf(randomBytes(10));
      const answer = await ask("eu", "POST", `/v2/docker/mounted/blobs/uploads/?mount=${missing}&from=${NAME}`, {
        headers,
      });
      assert.equal(answer.status, 202);
      const cancelled = await ask("eu", "DELETE", String(answer.headers.location), { headers });
      assert.equal(cancelled.status, 204);
    });

    test("a mount with a token that may not read the source is asked to get one for both", async () => {
      const headers = await bearer("eu", scope("docker/mounted"));
      const target = `/v2/docker/mounted/blobs/uploads/?mount=${digestOf(image.layers[0]!)}&from=${NAME}`;
      const answer = await ask("eu", "POST", target, { headers });
      assert.equal(answer.status, 401);
      const challenge = bearerChallenge(answer);
      assert.equal(challenge.error, "insufficient_scope");
      assert.match(String(challenge.scope), new RegExp(`repository:${NAME}:pull`));
      assert.match(String(challenge.scope), /repository:docker\/mounted:/);
    });

    test("bytes that are not what the digest says are refused, and are not there", async () => {
      const headers = await bearer("eu", scope(NAME));
      const opened = await ask("eu", "POST", `/v2/${NAME}/blobs/uploads/`, { headers });
      const claimed = digestOf(randomBytes(10));
      const put = await ask("eu", "PUT", `${opened.headers.location}?digest=${claimed}`, {
        headers: { ...headers, "content-type": "application/octet-stream" },
        body: randomBytes(1000),
      });
      assert.equal(put.status, 400);
      assert.equal(put.error?.code, "DIGEST_INVALID");
      assert.equal((await ask("eu", "HEAD", `/v2/${NAME}/blobs/${claimed}`, { headers })).status, 404);
    });

    test("a broken token is told to be invalid, and a refresh token is no access token", async () => {
      for (const token of ["nonsense", refreshToken]) {
        const answer = await ask("ap", "GET", "/v2/", { headers: { authorization: `Bearer ${token}` } });
        assert.equal(answer.status, 401);
        assert.equal(bearerChallenge(answer).error, "invalid_token");
      }
    });

    test("manifest unknown, repository unknown and blob unknown have their codes", async () => {
      const headers = { ...(await bearer("us", scope(NAME, "pull"), scope("docker/none", "pull"))), accept: ACCEPT };
      const codeOf = async (target: string): Promise<string | undefined> => {
        const answer = await ask("us", "GET", target, { headers });
        assert.equal(answer.status, 404);
        return answer.error?.code;
      };
      assert.equal(await codeOf(`/v2/${NAME}/manifests/none`), "MANIFEST_UNKNOWN");
      assert.equal(await codeOf("/v2/docker/none/manifests/v1"), "NAME_UNKNOWN");
      assert.equal(await codeOf(`/v2/${NAME}/blobs/${digestOf(randomBytes(10))}`), "BLOB_UNKNOWN");
    });
  });
}

/** An image as docker's own builder pushes it. */
function dockerImage(): { config: Buffer; layers: readonly Buffer[]; manifest: Buffer; digest: string } {
  const { config, layers } = makeImage(120_000, 3_000);
  const descriptor = (mediaType: string, bytes: Buffer) => ({ mediaType, size: bytes.length, digest: digestOf(bytes) });
  const manifest = Buffer.from(
    JSON.stringify(
      {
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: descriptor("application/vnd.docker.container.image.v1+json", config),
        layers: layers.map((layer) => descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", layer)),
      },
      null,
      3,
    ),
  );
  return { config, layers, manifest, digest: digestOf(manifest) };
}
