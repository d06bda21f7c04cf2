import assert from "node:assert/strict";
import { once } from "node:events";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { createServer, request } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { TLSSocket } from "node:tls";
import { createSystemClock, type PeerIdentity, type Timers, type TlsSource } from "@meridian/runtime";
import { type DevPki, ensureDevPki } from "./dev-pki.ts";
import { fileTlsSource } from "./file-tls-source.ts";
import { createIdentifyPeer } from "./identify-peer.ts";
import { issueLeaf } from "./issue-certificate.ts";
import { readIfPresent } from "./key-file.ts";
import { clientTlsOptions, followTlsSource, serverTlsOptions } from "./tls-options.ts";

const trustDomain = "dev.meridian.test";
const identify = createIdentifyPeer(trustDomain);
const site = (name: string) => ({ name, processes: [{ process: "site", service: "site" }] });

/** Timers whose repeated work runs when the test says so. */
function manualTicks(): { timers: Timers; tick: () => void } {
  const work: Array<() => void> = [];
  const never = { [Symbol.dispose]() {} };
  const timers = {
    sleep: async () => {},
    after: () => never,
    every: (_ms: number, run: () => void) => {
      work.push(run);
      return never;
    },
  };
  return { timers, tick: () => work.forEach((run) => void run()) };
}

describe("TLS between services", () => {
  let dir: string;
  let pki: DevPki;
  let foreign: DevPki;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "meridian-tls-"));
    const clock = createSystemClock();
    pki = await ensureDevPki({ dir: join(dir, "own"), trustDomain, sites: [site("eu"), site("us")], clock });
    foreign = await ensureDevPki({ dir: join(dir, "foreign"), trustDomain, sites: [site("eu")], clock });
  });
  after(() => rm(dir, { recursive: true }));

  const sourceOf = (from: DevPki, name: string): TlsSource & Disposable =>
    fileTlsSource({ ca: from.ca, ...(from.sites[name]?.processes.site as { key: string; cert: string }) });

  async function startServer(source: TlsSource) {
    const server = createServer(serverTlsOptions(source, { edge: false }), (incoming, response) => {
      response.end(JSON.stringify(identify((incoming.socket as TLSSocket).getPeerCertificate().raw)));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return {
      server,
      port: (server.address() as AddressInfo).port,
      async [Symbol.asyncDispose]() {
        server.closeAllConnections();
        server.close();
        await once(server, "close");
      },
    };
  }

  async function call(port: number, source: TlsSource, expect?: (peer: PeerIdentity) => boolean): Promise<unknown> {
    const options = { ...clientTlsOptions(source, { identify, expect }), host: "127.0.0.1", port, agent: false };
    const sent = request(options);
    sent.end();
    const [response] = (await once(sent, "response")) as [AsyncIterable<Buffer>];
    return JSON.parse(Buffer.concat(await Array.fromAsync(response)).toString());
  }

  it("lets both ends know each other by the URIs of their certificates", async () => {
    using eu = sourceOf(pki, "eu");
    using us = sourceOf(pki, "us");
    await using running = await startServer(eu);
    const seen = await call(running.port, us, (peer) => peer.site === "eu");
    assert.deepEqual(seen, { trustDomain, site: "us", service: "site" });
  });

  it("refuses a server that is another site than wanted", async () => {
    using eu = sourceOf(pki, "eu");
    await using running = await startServer(eu);
    await assert.rejects(
      call(running.port, eu, (peer) => peer.site === "us"),
      { kind: "denied", message: /eu\/site/ },
    );
  });

  it("refuses peers of another root and peers without a certificate, at both ends", async () => {
    using eu = sourceOf(pki, "eu");
    using stranger = sourceOf(foreign, "eu");
    await using running = await startServer(eu);
    await assert.rejects(call(running.port, stranger), /issuer certificate/);
    const trusting = { ...stranger.current(), ca: eu.current().ca };
    await assert.rejects(call(running.port, { ...stranger, current: () => trusting }));
    const without = { host: "127.0.0.1", port: running.port, ca: eu.current().ca, agent: false };
    const sent = request(without);
    sent.end();
    await assert.rejects(once(sent, "response"));
  });

  it("refuses a site that issues itself the identity of another", async () => {
    const issuer = {
      key: String(await readIfPresent(join(dir, "own/us/ca.key"))),
      cert: String(await readIfPresent(join(dir, "own/us/ca.pem"))),
    };
    const uri = `spiffe://${trustDomain}/site/eu/site`;
    const day = 24 * 60 * 60 * 1000;
    const term = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
    const forged = await issueLeaf({ commonName: "x", use: "peer", uri, names: ["127.0.0.1"], issuer, ...term });
    using us = sourceOf(pki, "us");
    const material = { key: forged.key, cert: forged.cert + issuer.cert, ca: us.current().ca };
    await using running = await startServer({ ...us, current: () => material });
    await assert.rejects(call(running.port, us), { kind: "denied", message: /not issued by site eu/ });
  });

  it("takes rotated files without a restart, and keeps the old ones while the new do not fit", async () => {
    const files = { key: join(dir, "r.key"), cert: join(dir, "r.pem"), ca: pki.ca };
    const copy = async (from: DevPki["sites"][string] | undefined, what: "key" | "cert"): Promise<void> =>
      copyFile(String(from?.processes.site?.[what]), files[what]);
    await copy(pki.sites.eu, "key");
    await copy(pki.sites.eu, "cert");
    const { timers, tick } = manualTicks();
    using source = fileTlsSource({ ...files, timers });
    using us = sourceOf(pki, "us");
    await using running = await startServer(source);
    using _following = followTlsSource(running.server, source, { edge: false });
    const isSite = (name: string) => (peer: PeerIdentity) => peer.site === name;
    await call(running.port, us, isSite("eu"));
    await copy(pki.sites.us, "key");
    tick();
    await call(running.port, us, isSite("eu"));
    await copy(pki.sites.us, "cert");
    tick();
    await call(running.port, us, isSite("us"));
  });

  it("names the file that is missing", () => {
    assert.throws(() => fileTlsSource({ key: join(dir, "none.key"), cert: pki.ca, ca: pki.ca }), {
      kind: "invalid",
      message: /none\.key/,
    });
  });
});
