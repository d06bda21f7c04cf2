import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { MANIFEST_TYPE, makeImage, OciClient } from "./harness/oci-client.ts";
import { until } from "./harness/until.ts";

describe("users and grants by the command line", () => {
  let cluster: DevProcess;
  const open: OciClient[] = [];
  const client = (site: string, username: string, password: string): OciClient => {
    const made = new OciClient(cluster.gateway(site), { ca: cluster.ca, username, password });
    open.push(made);
    return made;
  };
  const image = makeImage(2_000);
  let password: string;

  before(async () => {
    cluster = await DevProcess.start();
    await client("eu", "admin", cluster.adminPassword).push("team/app", "v1", image);
  });
  after(async () => {
    for (const one of open) one[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test("a new user may do nothing until granted", async () => {
    const added = await cluster.meridian("user", "add", "dev", "--json");
    assert.equal(added.code, 0, added.stderr);
    password = (JSON.parse(added.stdout) as { password: string }).password;
    const answer = await until("dev can log in at ap", async () => {
      const got = await client("ap", "dev", password).call("/v2/team/app/manifests/v1");
      return got.status === 403 || got.status === 401 ? got : false;
    });
    assert.match(answer.headers["meridian-policy-revision"] as string, /^\d+\.\d+$/);
  });

  test("with pull granted on a prefix the user pulls there at every site, and pushes nowhere", async () => {
    const granted = await cluster.meridian("user", "grant", "dev", "pull", "--repository", "team");
    assert.equal(granted.code, 0, granted.stderr);
    for (const site of ["eu", "us", "ap"]) {
      await until(`dev pulls at ${site}`, () => client(site, "dev", password).pull("team/app", "v1"), 5_000);
    }
    const put = await client("us", "dev", password).call("/v2/team/app/manifests/v2", {
      method: "PUT",
      headers: { "content-type": MANIFEST_TYPE },
      body: image.manifest,
    });
    assert.equal(put.status, 403);
    assert.match(put.body.toString(), /DENIED/);
    assert.match(put.headers["meridian-policy-revision"] as string, /^\d+\.\d+$/);
  });

  test("users are listed with their grants; only an administrator may list them", async () => {
    const listed = await cluster.meridian("user", "list", "--json");
    const { users } = JSON.parse(listed.stdout) as { users: Array<{ name: string; grants: unknown }> };
    assert.deepEqual(users.map((user) => user.name).sort(), ["admin", "dev"]);
    assert.equal((await client("eu", "dev", password).call("/v2/_meridian/users")).status, 403);
  });

  test("a removed user is refused at every site, with a token that was good before too", async () => {
    const kept = client("us", "dev", password);
    await kept.pull("team/app", "v1");
    assert.equal((await cluster.meridian("user", "remove", "dev")).code, 0);
    await until(
      "refused at us",
      async () => {
        const answer = await kept.call("/v2/team/app/manifests/v1").catch(() => ({ status: 401 }));
        return answer.status === 401 || answer.status === 403;
      },
      5_000,
    );
    const again = await cluster.meridian("user", "remove", "dev");
    assert.equal(again.code, 1);
    assert.match(again.stderr, /no user "dev"/);
  });

  test("the last administrator cannot be removed", async () => {
    const result = await cluster.meridian("user", "remove", "admin");
    assert.equal(result.code, 1);
    assert.match(result.stderr, /only administrator/);
  });
});
