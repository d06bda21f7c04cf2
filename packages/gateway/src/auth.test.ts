import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ContentError } from "@meridian/oci";
import type { authV1 } from "@meridian/wire";
import { adminOf, ask } from "./http-client.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

const asked: authV1.IssueTokenRequest[] = [];
let authIsAway = false;

/** Knows one user; answers what it was asked. */
const auth = {
  async issueToken(request: authV1.IssueTokenRequest) {
    if (authIsAway) throw new ContentError("unavailable", "stopped");
    asked.push(request);
    if (request.credentials?.password === "wrong") throw new ContentError("denied", "wrong password");
    return { token: "t0k3n", expiresIn: 300, refreshToken: request.offlineToken ? "r3fresh" : "" };
  },
};

async function using(options: Parameters<typeof startTestCluster>[0], run: (cluster: TestCluster) => Promise<void>) {
  await using cluster = await startTestCluster(options);
  await run(cluster);
}

let cluster: TestCluster;
before(async () => {
  cluster = await startTestCluster({ auth: () => auth, config: { tokenWaitMs: 300, trustedProxies: ["127.0.0.1"] } });
  await adminOf(cluster.site, "team/app").pushImage("v1");
});
after(() => cluster[Symbol.asyncDispose]());

const get = (path: string, headers: Record<string, string> = {}) =>
  ask(cluster.site.gateway.url, "GET", path, { headers });

describe("the ping", () => {
  test("without a token is 401 with the realm that the client used", async () => {
    const answer = await get("/v2/", { host: "registry.example:5001" });
    assert.equal(answer.status, 401);
    assert.equal(
      answer.headers["www-authenticate"],
      'Bearer realm="http://registry.example:5001/token",service="test-cluster"',
    );
    assert.equal(answer.headers["meridian-policy-revision"], "1.7");
    assert.equal(answer.code, "UNAUTHORIZED");
  });

  test("behind a trusted proxy names the proxy's address", async () => {
    const answer = await get("/v2/", { "x-forwarded-host": "r.example", "x-forwarded-proto": "https" });
    assert.match(String(answer.headers["www-authenticate"]), /realm="https:\/\/r\.example\/token"/);
  });

  test("with a token is 200", async () => {
    assert.equal((await get("/v2/", bearer("admin"))).status, 200);
  });

  test("for a repository with a bad or expired token names the scope that a new one needs", async () => {
    const answer = await get("/v2/team/app/manifests/v1", bearer("bad"));
    assert.equal(answer.status, 401);
    const challenge = String(answer.headers["www-authenticate"]);
    assert.match(challenge, /scope="repository:team\/app:pull"/);
    assert.match(challenge, /error="invalid_token"/);
  });

  test("with a bad token says so", async () => {
    const answer = await get("/v2/", bearer("bad"));
    assert.equal(answer.status, 401);
    assert.match(String(answer.headers["www-authenticate"]), /error="invalid_token"/);
  });

  for (const authorization of ["Basic YTpi", "Negotiate abc", "rubbish"]) {
    test(`with ${authorization.split(" ")[0]} is 401 with the Bearer challenge`, async () => {
      const answer = await get("/v2/", { authorization });
      assert.equal(answer.status, 401);
      assert.match(String(answer.headers["www-authenticate"]), /^Bearer realm=/);
    });
  }
});

describe("a request", () => {
  const path = "/v2/team/app/manifests/v1";

  test("without a token is 401 with its scope and no error", async () => {
    const answer = await get(path);
    assert.equal(answer.status, 401);
    assert.match(String(answer.headers["www-authenticate"]), /scope="repository:team\/app:pull"$/);
  });

  test("whose token lacks the scope is insufficient_scope", async () => {
    const answer = await get(path, bearer("admin", "other/app:pull"));
    assert.equal(answer.status, 401);
    assert.match(
      String(answer.headers["www-authenticate"]),
      /scope="repository:team\/app:pull",error="insufficient_scope"/,
    );
  });

  test("that the policy forbids is 403 and names the revision", async () => {
    const answer = await get(path, bearer("eve", "team/app:pull"));
    assert.deepEqual([answer.status, answer.code], [403, "DENIED"]);
    assert.equal(answer.headers["meridian-policy-revision"], "1.7");
    assert.match(answer.body.toString(), /"policyRevision":"1\.7"/);
  });

  test("whose token has every action in its scope passes", async () => {
    assert.equal((await get(path, bearer("admin", "team/app:*"))).status, 200);
  });

  test("of an anonymous token that is not enough asks to log in", async () => {
    assert.equal((await get(path, bearer("-", "team/app:pull"))).status, 401);
  });

  test("of an anonymous token passes where everyone may pull", async () => {
    cluster.site.grants.set("*", new Set(["team/app:pull"]));
    const answer = await get(path, bearer("-", "team/app:pull"));
    cluster.site.grants.delete("*");
    assert.equal(answer.status, 200);
  });

  test("under a stale policy says how old it is", async () => {
    cluster.site.policyAgeMs = 45_000;
    const answer = await get(path, bearer("admin", "team/app:pull"));
    cluster.site.policyAgeMs = 0;
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["meridian-policy-age"], "45");
  });

  test("under a policy that is too old is 503", async () => {
    cluster.site.policyAgeMs = 25 * 3_600_000;
    const answer = await get(path, bearer("admin", "team/app:pull"));
    cluster.site.policyAgeMs = 0;
    assert.deepEqual([answer.status, answer.code], [503, "UNAVAILABLE"]);
    assert.ok(answer.headers["retry-after"]);
  });

  test("whose token has to be checked first is answered the same", async () => {
    await using({ slowTokens: true }, async ({ site }) => {
      const admin = adminOf(site, "team/app");
      await admin.pushImage("v1");
      assert.equal((await admin.get("/manifests/v1")).status, 200);
      const bad = await ask(site.gateway.url, "GET", path, { headers: bearer("bad") });
      assert.equal(bad.status, 401);
    });
  });
});

describe("anonymous access", () => {
  test("pull: pings are 401, pulls pass, pushes ask to log in", async () => {
    await using({ config: { anonymous: "pull" } }, async ({ site }) => {
      await adminOf(site, "team/app").pushImage("v1");
      assert.equal((await ask(site.gateway.url, "GET", "/v2/")).status, 401);
      assert.equal((await ask(site.gateway.url, "GET", "/v2/team/app/manifests/v1")).status, 200);
      const headers = bearer("-");
      assert.equal((await ask(site.gateway.url, "GET", "/v2/team/app/manifests/v1", { headers })).status, 200);
      assert.equal((await ask(site.gateway.url, "POST", "/v2/team/app/blobs/uploads/")).status, 401);
    });
  });

  test("admin: everything passes without a login", async () => {
    await using({ config: { anonymous: "admin" } }, async ({ site }) => {
      assert.equal((await ask(site.gateway.url, "GET", "/v2/")).status, 200);
      assert.equal((await ask(site.gateway.url, "POST", "/v2/any/app/blobs/uploads/")).status, 202);
    });
  });
});

describe("the token endpoint", () => {
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString("base64")}` });
  const post = (body: string, type = "application/x-www-form-urlencoded") =>
    ask(cluster.site.gateway.url, "POST", "/token", { headers: { "content-type": type }, body });
  const last = () => asked.at(-1)!;

  test("answers what clients read, and no issued_at", async () => {
    const answer = await get("/token?service=test-cluster&offline_token=true", basic("alice:pass:word"));
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.json(), {
      token: "t0k3n",
      access_token: "t0k3n",
      expires_in: 300,
      refresh_token: "r3fresh",
    });
    assert.equal(answer.headers["cache-control"], "no-store");
    assert.deepEqual([last().credentials?.username, last().credentials?.password], ["alice", "pass:word"]);
  });

  test("takes scopes that are repeated and scopes with spaces between them", async () => {
    await get("/token?scope=repository:a:pull&scope=repository:b:pull%20repository:c:push");
    assert.deepEqual(last().scopes, ["repository:a:pull", "repository:b:pull", "repository:c:push"]);
  });

  for (const text of ["", ":"]) {
    test(`takes Basic "${text}" for anonymous`, async () => {
      assert.equal((await get("/token", basic(text))).status, 200);
      assert.equal(last().credentials, undefined);
    });
  }

  test("takes a password by POST", async () => {
    const answer = await post("grant_type=password&username=alice&password=s%26cret&access_type=offline&scope=a+b");
    assert.equal(answer.status, 200);
    assert.deepEqual([last().credentials?.password, last().offlineToken, last().scopes], ["s&cret", true, ["a", "b"]]);
  });

  test("takes a refresh token by POST", async () => {
    assert.equal((await post("grant_type=refresh_token&refresh_token=r")).status, 200);
    assert.equal(last().refreshToken, "r");
  });

  test("refuses wrong credentials with 401", async () => {
    const answer = await get("/token", basic("alice:wrong"));
    assert.deepEqual([answer.status, answer.code], [401, "UNAUTHORIZED"]);
  });

  const bad: ReadonlyArray<readonly [string, () => ReturnType<typeof post>, number]> = [
    ["another grant", () => post("grant_type=magic"), 400],
    ["no grant", () => post("username=a"), 400],
    ["JSON", () => post("{}", "application/json"), 400],
    ["a form of 64 KiB and more", () => post(`grant_type=password&x=${"x".repeat(65 * 1024)}`), 413],
    ["Bearer on GET", () => get("/token", bearer("admin")), 401],
  ];
  for (const [name, send, status] of bad) {
    test(`refuses ${name} with ${status}`, async () => assert.equal((await send()).status, status));
  }

  test("asks another site's auth when its own is away", async () => {
    const authOf = (site: string) => ({
      async issueToken() {
        if (site === "eu") throw new ContentError("unavailable", "stopped");
        return { token: `from ${site}`, expiresIn: 300 };
      },
    });
    await using({ sites: ["eu", "us"], auth: authOf }, async ({ site }) => {
      const answer = await ask(site.gateway.url, "GET", "/token");
      assert.equal(answer.json<{ token: string }>().token, "from us");
    });
  });

  test("waits for an auth, then answers 503", async () => {
    authIsAway = true;
    const answer = await get("/token");
    authIsAway = false;
    assert.deepEqual([answer.status, answer.code], [503, "UNAVAILABLE"]);
    assert.ok(answer.headers["retry-after"]);
  });
});
