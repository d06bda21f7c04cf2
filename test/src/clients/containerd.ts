import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Containerd } from "../harness/containerd.ts";
import { ESTARGZ } from "../harness/estargz.ts";
import { type MultiArchLayout, writeMultiArchLayout, ZSTD } from "../harness/image-layout.ts";
import { needs } from "../harness/programs.ts";
import { until } from "../harness/until.ts";
import { type Lab, needsRoot, registry, SITES } from "./lab.ts";

/** containerd, by ctr: trust by hosts.toml, a login with each command. */
export function containerdTests(lab: () => Lab): void {
  const at = (site: string): string => registry(lab(), site);
  let containerd: Containerd | undefined;
  let made: MultiArchLayout;
  const address = (): string[] => ["--address", String(containerd?.address)];
  const ctr = (...args: string[]): Promise<string> => lab().tools.ok("ctr", ...address(), ...args);
  const hosts = (): string[] => ["--hosts-dir", lab().tools.path("hosts")];
  const user = (password = lab().cluster.adminPassword): string[] => ["--user", `admin:${password}`];
  const images = (verb: "pull" | "push", ...args: string[]): Promise<string> =>
    ctr("images", verb, ...hosts(), ...user(), ...args);
  const pull = (...args: string[]): Promise<string> => images("pull", "--snapshotter", "native", ...args);
  const present = async (): Promise<string> => ctr("content", "ls", "--quiet");

  describe("containerd", { skip: needs("containerd", "ctr") || needsRoot() }, () => {
    before(async () => {
      for (const site of SITES) writeHosts(lab().tools.path("hosts", at(site)), [lab().cluster.gateway(site)], lab());
      containerd = await Containerd.start((socket) => lab().tools.ok("ctr", "--address", socket, "version"));
      made = writeMultiArchLayout(lab().tools.path("for-ctr"), "v1", ["amd64", "arm64"]);
      await lab().tools.ok("tar", "-cf", lab().tools.path("for-ctr.tar"), "-C", lab().tools.path("for-ctr"), ".");
    });
    after(() => containerd?.[Symbol.asyncDispose]());

    test("says its version", async (t) => t.diagnostic((await ctr("version")).split("\n")[1]?.trim() ?? ""));

    test("pushes an index with two platforms at eu", async () => {
      await ctr(
        "images",
        "import",
        "--all-platforms",
        "--no-unpack",
        "--base-name",
        `${at("eu")}/ctr/app`,
        lab().tools.path("for-ctr.tar"),
      );
      await images("push", `${at("eu")}/ctr/app:v1`);
    });

    test("is refused with a wrong password or without any", async () => {
      const args = (...login: string[]): string[] => [
        ...address(),
        "images",
        "push",
        ...hosts(),
        ...login,
        `${at("eu")}/ctr/app:v1`,
      ];
      assert.match(await lab().tools.fails("ctr", args(...user("wrong"))), /401 Unauthorized/);
      assert.match(await lab().tools.fails("ctr", args()), /authorization failed/);
    });

    test("pulls by tag at us and by digest at ap, each into an empty store, and unpacks", async () => {
      const wanted = made.images.find(({ architecture }) => architecture === goArchitecture());
      for (const reference of [`${at("us")}/ctr/app:v1`, `${at("ap")}/ctr/app@${made.digest}`]) {
        await ctr("images", "rm", "--sync", ...(await ctr("images", "ls", "--quiet")).split("\n"));
        await until("the content is gone", async () => (await present()) === "");
        await until(`${reference} is pulled`, () => pull(reference));
        const here = await present();
        for (const digest of [made.digest, wanted?.digest, wanted?.config, ...(wanted?.layers ?? [])]) {
          assert.ok(here.includes(String(digest)), `${reference}: ${digest}`);
        }
        assert.match(await ctr("images", "check", "--snapshotter", "native"), /complete/);
      }
    });

    test("pulls all platforms", async () => {
      await pull("--all-platforms", `${at("us")}/ctr/app:v1`);
      const here = await present();
      for (const { digest, config, layers } of made.images) {
        for (const blob of [digest, config, ...layers]) assert.ok(here.includes(blob), blob);
      }
    });

    test("pushes under another name at us, its layers mounted; ap fetches it", async () => {
      await ctr("images", "tag", `${at("us")}/ctr/app:v1`, `${at("us")}/ctr/renamed:v2`);
      await images("push", `${at("us")}/ctr/renamed:v2`);
      // A config and a layer of each platform.
      await lab().mounted("ctr/renamed", 4);
      await until("ap has it", () => ctr("content", "fetch", ...hosts(), ...user(), `${at("ap")}/ctr/renamed:v2`));
    });

    test("unpacks layers of zstd, and of estargz, that another site was given", async () => {
      for (const [name, form] of [
        ["zstd", ZSTD],
        ["estargz", ESTARGZ],
      ] as const) {
        const dir = lab().tools.path(`ctr-${name}`);
        writeMultiArchLayout(dir, "v1", [goArchitecture()], form);
        await lab().tools.ok("tar", "-cf", `${dir}.tar`, "-C", dir, ".");
        await ctr("images", "import", "--no-unpack", "--base-name", `${at("eu")}/ctr/${name}`, `${dir}.tar`);
        await images("push", `${at("eu")}/ctr/${name}:v1`);
        await ctr("images", "rm", "--sync", `${at("eu")}/ctr/${name}:v1`);
        await until(`us has ${name}`, () => pull(`${at("us")}/ctr/${name}:v1`));
      }
    });

    test("with sites as mirrors of one name, goes on to the next while the first is down", async () => {
      const name = "registry.example.com";
      const origins = ["https://127.0.0.1:1", lab().cluster.gateway("us"), lab().cluster.gateway("ap")];
      writeHosts(lab().tools.path("hosts", name), origins, lab());
      // containerd adds ?ns=registry.example.com to each call to a mirror.
      await pull(`${name}/ctr/app:v1`);
      assert.match(await ctr("images", "ls"), new RegExp(`^${name}/ctr/app:v1 .*${made.digest}`, "m"));
    });
  });
}

/** A hosts.toml with these hosts in order, the last one as the server too (containerd, docs/hosts.md). */
function writeHosts(dir: string, origins: readonly string[], { cluster }: Lab): void {
  mkdirSync(dir, { recursive: true });
  const ca = `ca = "${join(cluster.home, "ca.pem")}"\n`;
  const hosts = origins.map((origin) => `[host."${origin}"]\ncapabilities = ["pull", "resolve", "push"]\n${ca}`);
  writeFileSync(join(dir, "hosts.toml"), `server = "${origins.at(-1)}"\n${ca}${hosts.join("")}`);
}

function goArchitecture(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}
