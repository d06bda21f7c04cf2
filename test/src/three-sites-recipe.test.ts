import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { parse, stringify } from "yaml";
import { runCommand } from "./harness/dev-process.ts";
import { freePorts } from "./harness/free-ports.ts";
import { makeImage, OciClient } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { until } from "./harness/until.ts";

const root = resolve(import.meta.dirname, "../..");
const entry = join(root, "packages/meridian/src/main.ts");
const SITES = ["eu", "us", "ap"] as const;

/** Where one site listens in this test. */
interface Ports {
  readonly edge: number;
  readonly grpc: number;
  readonly bytes: number;
  readonly admin: number;
}

describe("deploy/three-sites, by its README", { skip: needs("openssl") }, () => {
  const folder = mkdtempSync(join(tmpdir(), "meridian-recipe-"));
  const ports = new Map<string, Ports>();
  const running: ChildProcess[] = [];
  let password = "";

  before(async () => {
    cpSync(join(root, "deploy/three-sites"), folder, { recursive: true });
    const path = `${process.env.PATH}:${ownMeridian()}`;
    const made = await runCommand("sh", ["-euc", `cd "${folder}"\n${recipe()}`], { PATH: path });
    assert.equal(made.code, 0, made.stderr);
    password = readFileSync(join(folder, "admin.password"), "utf8");
    for (const site of SITES) ports.set(site, await freePortsOfSite());
    for (const site of SITES) await settle(site);
  });
  after(async () => {
    for (const child of running) await end(child);
    rmSync(folder, { recursive: true });
  });

  test("its certificates are what the chains and purposes of TLS ask for", async () => {
    for (const site of SITES) {
      const verify = (file: string, purpose: string) => {
        const path = join(folder, site, file);
        const ca = join(folder, site, "ca.pem");
        return runCommand("openssl", [
          "verify",
          "-x509_strict",
          "-purpose",
          purpose,
          "-CAfile",
          ca,
          "-untrusted",
          path,
          path,
        ]);
      };
      assert.equal((await verify("site.pem", "sslserver")).code, 0);
      assert.equal((await verify("site.pem", "sslclient")).code, 0);
      assert.equal((await verify("edge.pem", "sslserver")).code, 0);
      assert.notEqual((await verify("edge.pem", "sslclient")).code, 0);
    }
  });

  test("its sites become ready together, take a push and serve it elsewhere, and stop in good order", async () => {
    for (const site of SITES) running.push(start(site));
    const ca = readFileSync(join(folder, "eu", "ca.pem"), "utf8");
    const client = (site: string): OciClient =>
      new OciClient(`https://127.0.0.1:${ports.get(site)?.edge}`, { ca, password });
    using eu = client("eu");
    using us = client("us");
    using ap = client("ap");
    for (const [site, at] of Object.entries({ eu, us, ap })) {
      await until(`${site} is ready, for operators and for clients`, () => isReady(ports.get(site), at), 60_000);
    }

    const image = makeImage(100_000, 1_000);
    await eu.push("demo/app", "v1", image);
    const pulled = await until("the push is at ap", () => ap.pull("demo/app", "v1"));
    assert.equal(pulled.digest, image.digest);

    for (const child of running) assert.equal(await end(child), 0);
  });

  /** Moves a site's file to this test's folders and loopback ports; everything else stays as the example says. */
  function settle(site: string): void {
    let text = readFileSync(join(folder, site, "site.yaml"), "utf8");
    for (const [name, { edge, grpc, bytes }] of ports) {
      const host = `${name}.registry.example.com`;
      text = text
        .replaceAll(`${host}:7000`, `127.0.0.1:${grpc}`)
        .replaceAll(`${host}:7001`, `127.0.0.1:${bytes}`)
        .replaceAll(`${host}:5000`, `127.0.0.1:${edge}`);
    }
    text = text
      .replaceAll("/etc/meridian", join(folder, site))
      .replaceAll("/var/lib/meridian", join(folder, "data", site));
    const config = parse(text);
    const { edge, grpc, bytes, admin } = ports.get(site) as Ports;
    config.listen = { host: "127.0.0.1", grpcPort: grpc, bytesPort: bytes, adminPort: admin };
    config.gateway = { ...config.gateway, host: "127.0.0.1", port: edge };
    config.logLevel = "error";
    writeFileSync(join(folder, site, "site.yaml"), stringify(config));
  }

  function start(site: string): ChildProcess {
    const args = ["--conditions=meridian-source", entry, "serve", "--config", join(folder, site, "site.yaml")];
    return spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  }

  /** A folder for PATH with `meridian` from this checkout. */
  function ownMeridian(): string {
    const bin = join(folder, "bin");
    mkdirSync(bin);
    writeFileSync(
      join(bin, "meridian"),
      `#!/bin/sh\nexec "${process.execPath}" --conditions=meridian-source "${entry}" "$@"\n`,
      {
        mode: 0o755,
      },
    );
    return bin;
  }

  /** The commands of the README's steps 1 to 4. */
  function recipe(): string {
    const steps = readFileSync(join(root, "deploy/three-sites/README.md"), "utf8")
      .split(/^## /m)
      .filter((section) => /^[1-4]\./.test(section))
      .flatMap((section) => [...section.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block));
    assert.equal(steps.length, 4, "the README's steps");
    return steps.join("\n");
  }
});

async function isReady(ports: Ports | undefined, client: OciClient): Promise<boolean> {
  const internal = await fetch(`http://127.0.0.1:${ports?.admin}/readyz`);
  const text = await internal.text();
  if (!internal.ok) throw new Error(text);
  return (await client.call("/readyz")).status === 200;
}

/** Resolves with the exit code; the signal's name when it did not end by itself. */
async function end(child: ChildProcess): Promise<number | string | null> {
  if (child.exitCode === null && child.signalCode === null) {
    const exit = once(child, "exit");
    child.kill("SIGTERM");
    await exit;
  }
  return child.exitCode ?? child.signalCode;
}

async function freePortsOfSite(): Promise<Ports> {
  const [edge = 0, grpc = 0, bytes = 0, admin = 0] = await freePorts(4);
  return { edge, grpc, bytes, admin };
}
