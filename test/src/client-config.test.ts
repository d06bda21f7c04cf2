import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { needsRoot } from "./clients/lab.ts";
import { Containerd } from "./harness/containerd.ts";
import { DevProcess } from "./harness/dev-process.ts";
import { writeMultiArchLayout } from "./harness/image-layout.ts";
import { needs } from "./harness/programs.ts";
import { command, complete, meridian } from "./harness/site-control.ts";
import { ToolBox } from "./harness/tool-box.ts";

const NAME = "registry.example.com";

describe("meridian client-config", () => {
  let cluster: DevProcess;
  let tools: ToolBox;

  before(async () => {
    cluster = await DevProcess.start();
    tools = new ToolBox(cluster);
  });
  after(async () => {
    tools?.[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test("prints docker's trust for every gateway, and says that docker knows no other site", async () => {
    const { code, stdout, stderr } = await cluster.meridian("client-config", "docker", "--sites", "us,eu");
    assert.equal(code, 0, stderr);
    for (const site of ["us", "eu"])
      assert.match(
        stdout,
        new RegExp(`^# /etc/docker/certs\\.d/${new URL(cluster.gateway(site)).host}/ca\\.crt$`, "m"),
      );
    assert.doesNotMatch(stdout, new RegExp(new URL(cluster.gateway("ap")).host));
    assert.match(stderr, /docker has no mirrors/);
  });

  test("puts every site in order of distance when none is named, all with --json", async () => {
    const { origins, files } = JSON.parse(
      await meridian(cluster, "client-config", "containerd", "--name", NAME, "--json"),
    ) as { origins: string[]; files: Array<{ path: string }> };
    assert.equal(origins[0], cluster.gateway("eu"), "the one that is asked is the nearest to itself");
    assert.deepEqual(origins.toSorted(), ["eu", "us", "ap"].map((site) => cluster.gateway(site)).toSorted());
    assert.deepEqual(
      files.map(({ path }) => path),
      [`${NAME}/hosts.toml`, `${NAME}/ca.crt`],
    );
  });

  test("refuses what it cannot do, with what can be done instead", async () => {
    const stranger = await cluster.meridian("client-config", "podman", "--sites", "eu,mars");
    assert.deepEqual([stranger.code, /the cluster's sites are eu, us, ap/.test(stranger.stderr)], [2, true]);
    const name = await cluster.meridian("client-config", "podman", "--name", "a/b");
    assert.deepEqual([name.code, /a host, or host:port, is wanted/.test(name.stderr)], [2, true]);
    assert.equal((await cluster.meridian("client-config", "rkt")).code, 2);
  });

  describe("with its entry site killed", () => {
    before(async () => {
      const dir = tools.path("image");
      writeMultiArchLayout(dir, "v1", ["amd64"]);
      const { code, stderr } = await tools.run("skopeo", [
        "copy",
        "--dest-creds",
        `admin:${cluster.adminPassword}`,
        `oci:${dir}:v1`,
        `docker://${new URL(cluster.gateway("eu")).host}/kept/app:v1`,
      ]);
      assert.equal(code, 0, stderr);
      await complete(cluster, "eu", "kept/app", "v1");
      for (const client of ["containerd", "podman"] as const)
        await meridian(
          cluster,
          "client-config",
          client,
          "--name",
          NAME,
          "--sites",
          "eu,us,ap",
          "--out",
          tools.path(client),
        );
      await command(cluster, { command: "site-kill", site: "eu" });
    });

    test("meridian route explain tells where its bytes come from, and from where if more were lost", async () => {
      const routes = async (...args: string[]): Promise<Array<{ site: string; chosen: string }>> =>
        JSON.parse(await meridian(cluster, "route", "explain", "kept/app:v1", "--json", ...args)).routes;
      for (const { site, chosen } of await routes("--from", "us")) assert.deepEqual([site, chosen], ["us", "us/site"]);
      for (const { chosen } of await routes("--from", "us", "--without", "us")) assert.equal(chosen, "ap/site");
      const none = await cluster.meridian("route", "explain", "kept/app:v1", "--without", "us,ap,eu");
      assert.deepEqual([none.code, /nobody could serve/.test(none.stderr)], [1, true]);
    });

    test("containerd pulls from the next in hosts.toml", {
      skip: needs("containerd", "ctr", "skopeo") || needsRoot(),
    }, async () => {
      const containerd = await Containerd.start((socket) => tools.ok("ctr", "--address", socket, "version"));
      await using _ended = containerd;
      const login = ["--hosts-dir", tools.path("containerd"), "--user", `admin:${cluster.adminPassword}`];
      const ctr = ["--address", containerd.address];
      await tools.ok("ctr", ...ctr, "content", "fetch", "--all-platforms", ...login, `${NAME}/kept/app:v1`);
      assert.match(await tools.ok("ctr", ...ctr, "images", "ls", "--quiet"), new RegExp(`^${NAME}/kept/app:v1$`, "m"));
    });

    test("podman's mirrors lead skopeo to the next site", { skip: needs("skopeo") }, async () => {
      const conf = tools.path("podman", "registries.conf.d", "meridian.conf");
      assert.match(readFileSync(conf, "utf8"), /\[\[registry\.mirror\]\]/);
      for (const site of ["eu", "us", "ap"])
        assert.ok(existsSync(tools.path("podman", "certs.d", new URL(cluster.gateway(site)).host, "ca.crt")));
      for (const site of ["us", "ap"])
        await tools.login("skopeo", "login", "-u", "admin", "--password-stdin", new URL(cluster.gateway(site)).host);
      mkdirSync(tools.path("pulled"));
      const { code, stderr } = await tools.run("skopeo", [
        "--registries-conf",
        conf,
        "copy",
        "--all",
        `docker://${NAME}/kept/app:v1`,
        `oci:${join(tools.dir, "pulled")}:v1`,
      ]);
      assert.equal(code, 0, stderr);
    });
  });
});
