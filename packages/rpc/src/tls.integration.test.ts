import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { TLSSocket } from "node:tls";
import { ContentError } from "@meridian/oci";
import type { IdentifyPeer, Logger, PeerIdentity, TlsMaterial, TlsSource } from "@meridian/runtime";
import { linkV1, siteV1 } from "@meridian/wire";
import { createRpcChannel } from "./rpc-channel.ts";
import { createRpcServer } from "./rpc-server.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const skip = !hasOpenssl && process.env.MERIDIAN_REQUIRE !== "all" ? "openssl is not on PATH" : false;

/** Reads `spiffe://test/site/<site>/<service>`; strict reading is the pki package's task and tested there. */
const identify: IdentifyPeer = (der) => {
  const match = /URI:spiffe:\/\/test\/site\/(\w+)\/(\w+)/.exec(new X509Certificate(der).subjectAltName ?? "");
  if (match === null) throw new ContentError("denied", "the certificate names no service");
  return { trustDomain: "test", site: String(match[1]), service: String(match[2]) };
};

function fixed(material: TlsMaterial): TlsSource {
  return { current: () => material, subscribe: () => ({ [Symbol.dispose]() {} }) };
}

/** A source whose material can be replaced. */
function rotating(material: TlsMaterial): TlsSource & { rotate(next: TlsMaterial): void } {
  const subscribers = new Set<(next: TlsMaterial) => void>();
  let current = material;
  return {
    current: () => current,
    subscribe(changed) {
      subscribers.add(changed);
      return { [Symbol.dispose]: () => void subscribers.delete(changed) };
    },
    rotate(next) {
      current = next;
      for (const changed of subscribers) changed(next);
    },
  };
}

describe("mutual TLS", { skip }, () => {
  let dir: string;
  const issued: Record<string, TlsMaterial> = {};
  const material = (name: string): TlsMaterial => issued[name] as TlsMaterial;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "meridian-rpc-"));
    for (const ca of ["own", "foreign"]) issue(ca, []);
    const leaf = async (name: string, ca: string, uri: string): Promise<void> => {
      issue(name, ["-CA", `${ca}.pem`, "-CAkey", `${ca}.key`, "-addext", `subjectAltName=${uri}`]);
      const read = (file: string): Promise<string> => readFile(join(dir, file), "utf8");
      issued[name] = { key: await read(`${name}.key`), cert: await read(`${name}.pem`), ca: await read(`${ca}.pem`) };
    };
    await leaf("eu", "own", "URI:spiffe://test/site/eu/site");
    await leaf("us", "own", "URI:spiffe://test/site/us/site");
    await leaf("edge", "own", "DNS:localhost");
    await leaf("stranger", "foreign", "URI:spiffe://test/site/eu/site");
  });
  after(() => rm(dir, { recursive: true, force: true }));

  function issue(name: string, more: string[]): void {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`];
    const args = ["req", "-x509", ...key, "-out", `${name}.pem`, "-days", "2", "-subj", `/CN=${name}`, ...more];
    execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  }

  async function start(tls: TlsSource, allow?: (peer: PeerIdentity, method: string) => boolean) {
    const server = createRpcServer({ tls, identify, log: silent });
    const unimplemented = (): never => assert.fail("not under test");
    server.register(
      siteV1.SiteService,
      {
        ping: async (_request, { peer }) => ({ site: `${peer?.site}/${peer?.service}` }),
        heartbeat: unimplemented,
        lookup: unimplemented,
        replication: unimplemented,
      },
      { allow },
    );
    server.register(
      linkV1.LogTailService,
      {
        async *tail() {
          yield { message: { case: "heartbeat", value: { head: 1n } } };
        },
      },
      { allow },
    );
    return {
      server,
      ...(await server.listen({ host: "127.0.0.1", port: 0 })),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  }
  function connect(address: string, tls: TlsSource, expect?: (peer: PeerIdentity) => boolean) {
    return createRpcChannel({ address, tls, identify, expect, log: silent });
  }

  it("tells an implementation who calls, by the certificate", async () => {
    await using running = await start(fixed(material("eu")));
    await using channel = connect(running.address, fixed(material("us")), (peer) => peer.site === "eu");
    assert.equal((await channel.client(siteV1.SiteService).ping({})).site, "us/site");
  });

  it("reads the certificate of a connection once, however many calls come over it", async () => {
    const { getPeerCertificate } = TLSSocket.prototype;
    let reads = 0;
    const counting = function (this: TLSSocket, ...parameters: unknown[]): unknown {
      reads += 1;
      return Reflect.apply(getPeerCertificate, this, parameters);
    };
    Object.assign(TLSSocket.prototype, { getPeerCertificate: counting });
    try {
      await using running = await start(fixed(material("eu")));
      await using channel = connect(running.address, fixed(material("us")));
      await channel.client(siteV1.SiteService).ping({});
      const ofConnecting = reads;
      for (let call = 0; call < 3; call += 1) {
        assert.equal((await channel.client(siteV1.SiteService).ping({})).site, "us/site");
      }
      assert.equal(reads, ofConnecting);
    } finally {
      Object.assign(TLSSocket.prototype, { getPeerCertificate });
    }
  });

  it("asks allow for the method, and refuses with denied, unary and streams alike", async () => {
    const asked: string[] = [];
    await using running = await start(fixed(material("eu")), (peer, method) => {
      asked.push(method);
      return peer.site === "eu";
    });
    await using us = connect(running.address, fixed(material("us")));
    await using eu = connect(running.address, fixed(material("eu")));
    assert.equal((await eu.client(siteV1.SiteService).ping({})).site, "eu/site");
    await assert.rejects(us.client(siteV1.SiteService).ping({}), { kind: "denied", message: /us\/site may not call/ });
    const stream = us.client(linkV1.LogTailService).tail((async function* () {})());
    await assert.rejects(Array.fromAsync(stream), { kind: "denied" });
    assert.deepEqual(asked, ["ping", "ping", "tail"]);
  });

  it("refuses a server that is not the one expected, or whose certificate names no service", async () => {
    await using running = await start(fixed(material("eu")));
    await using channel = connect(running.address, fixed(material("us")), (peer) => peer.site === "us");
    await assert.rejects(channel.client(siteV1.SiteService).ping({}), { kind: "denied", message: /eu\/site/ });
    await using edge = await start(fixed(material("edge")));
    await using toEdge = connect(edge.address, fixed(material("us")));
    await assert.rejects(toEdge.client(siteV1.SiteService).ping({}), { kind: "denied", message: /names no service/ });
  });

  it("refuses a caller whose certificate names no service", async () => {
    await using running = await start(fixed(material("eu")));
    await using channel = connect(running.address, fixed(material("edge")));
    await assert.rejects(channel.client(siteV1.SiteService).ping({}), { kind: "denied", message: /names no service/ });
  });

  it("lets nobody in or be reached with a certificate of another root, or without one", async () => {
    await using running = await start(fixed(material("eu")));
    const trusting = fixed({ ...material("stranger"), ca: material("eu").ca });
    await using stranger = connect(running.address, trusting);
    await assert.rejects(stranger.client(siteV1.SiteService).ping({}), { kind: "unavailable" });
    await using plain = createRpcChannel({ address: running.address, log: silent });
    await assert.rejects(plain.client(siteV1.SiteService).ping({}), { kind: "unavailable" });
    await using foreign = await start(fixed(material("stranger")));
    await using channel = connect(foreign.address, fixed(material("us")));
    await assert.rejects(channel.client(siteV1.SiteService).ping({}), { kind: "unavailable", message: /certificate/ });
  });

  it("speaks TLS 1.3 only", async () => {
    await using running = await start(fixed(material("eu")));
    const tls = (version: string) => {
      const args = [
        "s_client",
        "-connect",
        running.address,
        version,
        "-key",
        "us.key",
        "-cert",
        "us.pem",
        "-CAfile",
        "own.pem",
        "-alpn",
        "h2",
        "-brief",
      ];
      return new Promise<string>((resolve) => {
        import("node:child_process").then(({ execFile }) => {
          const child = execFile("openssl", args, { cwd: dir, timeout: 5_000 }, (_error, stdout, stderr) =>
            resolve(stdout + stderr),
          );
          child.stdin?.end();
        }, assert.fail);
      });
    };
    assert.match(await tls("-tls1_3"), /Protocol version: TLSv1\.3/);
    assert.doesNotMatch(await tls("-tls1_2"), /CONNECTION ESTABLISHED/);
  });

  it("uses rotated material for new connections at both ends, without a restart", async () => {
    const source = rotating(material("eu"));
    await using running = await start(source);
    const callers = rotating(material("us"));
    await using before = connect(running.address, callers, (peer) => peer.site === "eu");
    assert.equal((await before.client(siteV1.SiteService).ping({})).site, "us/site");
    source.rotate(material("us"));
    callers.rotate(material("eu"));
    await using afterwards = connect(running.address, callers, (peer) => peer.site === "us");
    assert.equal((await afterwards.client(siteV1.SiteService).ping({})).site, "eu/site");
    assert.equal((await before.client(siteV1.SiteService).ping({})).site, "us/site");
  });
});
