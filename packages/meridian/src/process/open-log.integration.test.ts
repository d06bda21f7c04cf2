import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createLiveTopology } from "@meridian/cluster";
import { ensureDevPki } from "@meridian/pki";
import { createSystemClock, type Logger, systemRandom, systemTimers } from "@meridian/runtime";
import { openLog } from "./open-log.ts";
import type { SiteConfig } from "./site-config.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

describe("the site's log on a cluster of nats-servers", { skip: cannotRun() }, () => {
  const clean = new AsyncDisposableStack();
  const servers: ChildProcess[] = [];
  let urls: string[] = [];
  let pki: Awaited<ReturnType<typeof ensureDevPki>>;

  before(async () => {
    const dir = await mkdtemp(join(tmpdir(), "meridian-nats-"));
    clean.defer(() => rm(dir, { recursive: true, force: true }));
    const clock = createSystemClock();
    const sites = [{ name: "eu", processes: [{ process: "p", service: "gateway" }] }];
    pki = await ensureDevPki({ dir: join(dir, "pki"), trustDomain: "c", sites, clock });
    const ports = await freePorts(6);
    const routes = ports.slice(3).map((port) => `nats://127.0.0.1:${port}`);
    urls = ports.slice(0, 3).map((port) => `127.0.0.1:${port}`);
    const { cert, key } = pki.sites.eu!.processes.p!;
    const tls = ["--tls", "--tlsverify", "--tlscert", cert, "--tlskey", key, "--tlscacert", pki.ca];
    for (const [index, url] of urls.entries()) {
      const place = ["--addr", "127.0.0.1", "--port", url.split(":")[1]!, "--name", `n${index}`];
      const cluster = ["--cluster_name", "eu", "--cluster", routes[index]!, "--routes", routes.join(",")];
      const store = ["--jetstream", "--store_dir", join(dir, `n${index}`)];
      servers.push(spawn(binary(), [...place, ...cluster, ...store, ...tls], { stdio: "ignore" }));
    }
    clean.defer(async () => {
      for (const server of servers) await kill(server);
    });
  });
  after(() => clean.disposeAsync());

  test("is opened over TLS, and with three replicas survives the loss of a server", { timeout: 60_000 }, async () => {
    const { cert, key } = pki.sites.eu!.processes.p!;
    await using logs = await open({ tls: { ca: pki.ca, cert, key }, replicas: 3 });
    const append = (value: string): Promise<unknown> =>
      insist(async () => {
        const log = await logs.open("META_eu");
        await log.append({ subject: `m.eu.tag.${value}`, payload: Buffer.from(value) });
      });
    await append("before");
    await kill(servers[0]!);
    await append("after");
    const kept = await insist(async () => (await logs.open("META_eu")).last("m.eu.tag.before"));
    assert.equal(Buffer.from(kept!.payload).toString(), "before");
  });

  test("a file that cannot be read is a clear line", async () => {
    await assert.rejects(
      open({ tls: { ca: "/nowhere/ca.pem" }, replicas: 1 }),
      /cannot read \/nowhere\/ca\.pem, which log\.tls names/,
    );
  });

  function open({ tls, replicas }: { tls: { ca: string; cert?: string; key?: string }; replicas: 1 | 3 }) {
    const signal = AbortSignal.timeout(40_000);
    const log = { driver: "nats", servers: urls, replicas, durableAcks: true, tls };
    const topology = { cluster: "c", site: "eu", process: "p", sites: ["eu"], processes: [] };
    const live = createLiveTopology(topology);
    const identity = { topology, live, roles: new Set<never>(), service: "gateway", folder: (name: string) => name };
    const parts = { clock: createSystemClock(), timers: systemTimers, random: systemRandom, log: silent };
    return openLog({ log } as unknown as SiteConfig, {
      identity,
      secrets: { uploadKey: "" } as never,
      ...parts,
      signal,
    });
  }
});

/** Again until it works: a cluster elects a leader first. */
async function insist<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 40_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function kill(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  server.kill("SIGKILL");
  await once(server, "exit");
}

async function freePorts(count: number): Promise<number[]> {
  const listening = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = listening.map((server) => (server.address() as { port: number }).port);
  for (const server of listening) server.close();
  return ports;
}

function binary(): string {
  return process.env.MERIDIAN_NATS_SERVER ?? "nats-server";
}

/** Replicas on 2.9 take longer to elect than a test should wait: 2.10 or later. */
function cannotRun(): string | false {
  const reason = "needs nats-server 2.10 or later (set MERIDIAN_NATS_SERVER)";
  try {
    if (/v2\.(1\d|[2-9]\d)\./.test(execFileSync(binary(), ["--version"], { encoding: "utf8" }))) return false;
  } catch {
    // Not there: left out, or a failure when everything is required.
  }
  if (process.env.MERIDIAN_REQUIRE === "all") throw new Error(reason);
  return reason;
}
