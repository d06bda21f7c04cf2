import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, MANIFEST_TYPE, makeImage, OciClient } from "./harness/oci-client.ts";
import { bearerChallenge, type RawAnswer, RawHttp } from "./harness/raw-http.ts";
import { command, meridian, ready, SITES } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

const WRONG = "Tr0ub4dor-and-3";

describe("logins, tokens and grants while the policy home comes and goes", () => {
  const image = makeImage(3_000);
  const secret = makeImage(5_000);
  const open: Disposable[] = [];
  const passwords: string[] = [WRONG];
  let cluster: DevProcess;
  let devPassword: string;

  const as = (site: string, username: string, password: string): OciClient => {
    const client = new OciClient(cluster.gateway(site), { ca: cluster.ca, username, password });
    open.push(client);
    return client;
  };
  const raw = (site: string): RawHttp => {
    const http = new RawHttp(cluster.gateway(site), cluster.ca);
    open.push(http);
    return http;
  };
  const basic = (username: string, password: string): Record<string, string> => ({
    authorization: `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`,
  });
  /** Logs in at a site and resolves with a token for pulls of a repository. */
  const login = async (site: string, username: string, password: string, repository: string): Promise<string> => {
    const http = raw(site);
    const { service } = bearerChallenge(await http.ask("GET", `/v2/${repository}/tags/list`));
    const scope = `repository:${repository}:pull,push`;
    const answer = await http.ask("GET", `/token?service=${service}&scope=${scope}`, {
      headers: basic(username, password),
    });
    assert.equal(answer.status, 200, `login of ${username} at ${site}: ${answer.body}`);
    return answer.json<{ token: string }>().token;
  };
  const pullWith = (token: string, site: string, repository: string): Promise<RawAnswer> =>
    raw(site).ask("GET", `/v2/${repository}/manifests/v1`, { headers: { authorization: `Bearer ${token}` } });
  const addUser = async (name: string, ...more: string[]): Promise<string> => {
    const { password } = JSON.parse(await meridian(cluster, "user", "add", name, "--json", ...more)) as {
      password: string;
    };
    passwords.push(password);
    return password;
  };

  before(async () => {
    cluster = await DevProcess.start();
    passwords.push(cluster.adminPassword);
    await cluster.at("eu").push("team/app", "v1", image);
    await cluster.at("eu").push("teammate/app", "v1", secret);
    devPassword = await addUser("dev");
    await meridian(cluster, "user", "grant", "dev", "pull", "--repository", "team");
    for (const site of SITES) {
      const client = as(site, "dev", devPassword);
      await until(`dev pulls at ${site}`, () => client.pull("team/app", "v1"), 10_000);
    }
  });
  after(async () => {
    for (const one of open) one[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test("a token of any site is good at every site", async () => {
    for (const home of SITES) {
      const token = await login(home, "dev", devPassword, "team/app");
      for (const site of SITES) {
        const answer = await pullWith(token, site, "team/app");
        assert.equal(answer.status, 200, `token of ${home} at ${site}: ${answer.body}`);
      }
    }
  });

  test("a wrong password, an unknown user and no user are 401 in the same words", async () => {
    const refusals = new Set<string>();
    for (const [username, password] of [
      ["admin", WRONG],
      ["nobody", WRONG],
      ["dev", ""],
    ] as const) {
      const answer = await raw("us").ask("GET", "/token", { headers: basic(username, password) });
      assert.equal(answer.status, 401);
      refusals.add(String(answer.error?.message));
    }
    assert.equal(refusals.size, 1, [...refusals].join(" | "));
  });

  test("pull on a prefix is pull on that prefix, and nothing else", async () => {
    const dev = as("us", "dev", devPassword);
    const denied = async (
      answering: Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }>,
      what: string,
    ) => {
      const answer = await answering;
      assert.equal(answer.status, 403, `${what}: ${answer.status} ${answer.body}`);
      assert.match(answer.body.toString(), /DENIED/, what);
      assert.match(String(answer.headers["meridian-policy-revision"]), /^\d+\.\d+$/, what);
    };
    const headers = { "content-type": MANIFEST_TYPE };
    const body = image.manifest;
    await denied(dev.call("/v2/team/app/manifests/v2", { method: "PUT", headers, body }), "a push");
    await denied(dev.call("/v2/team/app/blobs/uploads/", { method: "POST" }), "an upload");
    await denied(dev.call("/v2/team/app/manifests/v1", { method: "DELETE" }), "a delete");
    await denied(dev.call("/v2/teammate/app/manifests/v1"), "a repository that only begins alike");
    await denied(dev.call(`/v2/teammate/app/blobs/${digestOf(secret.config)}`), "its blob");
    const user = Buffer.from(JSON.stringify({ password: WRONG }));
    const grant = Buffer.from(JSON.stringify({ principal: "dev", repositoryPrefix: "", role: "admin" }));
    await denied(dev.call("/v2/_meridian/users/admin", { method: "PUT", body: user }), "the admin's password");
    await denied(dev.call("/v2/_meridian/grants", { method: "PUT", body: grant }), "a grant to oneself");
    assert.equal(
      (await dev.call(`/v2/team/app/blobs/${digestOf(secret.config)}`)).status,
      404,
      "another repository's blob",
    );
  });

  test("who may push may not mount what they may not pull", async () => {
    const password = await addUser("pusher");
    await meridian(cluster, "user", "grant", "pusher", "push", "--repository", "own");
    const pusher = as("ap", "pusher", password);
    await until("pusher pushes at ap", () => pusher.push("own/app", "v1", image), 10_000);
    const digest = digestOf(secret.layers[0] ?? Buffer.alloc(0));
    for (const query of [`mount=${digest}&from=teammate/app`, `mount=${digest}`]) {
      const answer = await pusher.call(`/v2/own/app/blobs/uploads/?${query}`, { method: "POST" });
      assert.notEqual(answer.status, 201, query);
      assert.equal((await pusher.call(`/v2/own/app/blobs/${digest}`, { method: "HEAD" })).status, 404);
    }
    const descriptor = { mediaType: "application/octet-stream", digest, size: 5_000 };
    const manifest = { ...(JSON.parse(image.manifest.toString()) as object), layers: [descriptor] };
    const put = await pusher.call("/v2/own/app/manifests/stolen", {
      method: "PUT",
      headers: { "content-type": MANIFEST_TYPE },
      body: Buffer.from(JSON.stringify(manifest)),
    });
    assert.equal(put.status, 400, put.body.toString());
    assert.match(put.body.toString(), /MANIFEST_BLOB_UNKNOWN/);
  });

  test("without the home logins, tokens, pulls and pushes go on at the others; a change of policy is refused, naming the home", async () => {
    const before = await login("eu", "dev", devPassword, "team/app");
    await command(cluster, { command: "site-kill", site: "eu" });
    for (const site of ["us", "ap"]) {
      assert.equal((await pullWith(before, site, "team/app")).status, 200, `eu's token at ${site}`);
      const fresh = await login(site, "dev", devPassword, "team/app");
      assert.equal((await pullWith(fresh, site, "team/app")).status, 200);
      await as(site, "admin", cluster.adminPassword).push(`team/while-away-${site}`, "v1", makeImage(1_000));
    }
    const started = performance.now();
    const refused = await cluster.meridian("user", "add", "late", "--server", cluster.gateway("us"));
    assert.equal(refused.code, 1, refused.stdout);
    assert.match(refused.stderr, /home/);
    assert.match(refused.stderr, /\beu\b/);
    assert.ok(performance.now() - started < 25_000, `refused after ${performance.now() - started} ms`);
  });

  test("a site that starts while the home is away becomes ready and issues tokens that are good elsewhere", async () => {
    await command(cluster, { command: "site-kill", site: "us" });
    await command(cluster, { command: "site-start", site: "us" });
    await ready(cluster, ["us"]);
    const token = await login("us", "dev", devPassword, "team/app");
    for (const site of ["us", "ap"]) assert.equal((await pullWith(token, site, "team/app")).status, 200, site);
    assert.equal((await as("us", "dev", devPassword).pull("team/app", "v1")).digest, image.digest);
  });

  test("once the home is back a new user can be added through any site, and logs in at all of them", async () => {
    await command(cluster, { command: "site-start", site: "eu" });
    await ready(cluster, ["eu"]);
    const server = cluster.gateway("us");
    const password = await until("added", () => addUser("late", "--server", server), 30_000);
    await meridian(cluster, "user", "grant", "late", "pull", "--repository", "team", "--server", server);
    for (const site of SITES) {
      await until(`late pulls at ${site}`, () => as(site, "late", password).pull("team/app", "v1"), 5_000);
    }
  });

  test("a removed user's tokens are refused at every site within two seconds", async () => {
    const tokens = await Promise.all(SITES.map((site) => login(site, "dev", devPassword, "team/app")));
    await meridian(cluster, "user", "remove", "dev");
    const refused = async (site: string, token: string): Promise<boolean> =>
      (await pullWith(token, site, "team/app")).status === 401;
    await Promise.all(
      SITES.flatMap((site) =>
        tokens.map((token) => until(`a token of dev is refused at ${site}`, () => refused(site, token), 2_000)),
      ),
    );
    for (const site of SITES) {
      const answer = await raw(site).ask("GET", "/token", { headers: basic("dev", devPassword) });
      assert.equal(answer.status, 401, `login at ${site} after the removal`);
    }
  });

  test("no log has a password or a token in it", () => {
    const logs = globSync(join(cluster.home, "sites/*/*.log"));
    assert.ok(logs.length >= SITES.length);
    for (const text of [cluster.output, ...logs.map((file) => readFileSync(file, "utf8"))]) {
      for (const password of passwords) assert.ok(!text.includes(password), `the password ${password} is in a log`);
      assert.doesNotMatch(text, /eyJ[A-Za-z0-9_-]{10,}/);
      assert.doesNotMatch(text, /\$argon2/);
    }
  });
});
