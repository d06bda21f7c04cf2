import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createIdentifyPeer, ensureDevPki, fileTlsSource } from "@meridian/pki";
import { createLogger, createSystemClock, type IdentifyPeer, type TlsSource } from "@meridian/runtime";
import { createByteClient } from "./byte-client.ts";
import { type ByteServerOptions, startByteServer } from "./byte-server.ts";
import type { NodeBytes } from "./node-bytes.ts";

/** Logs nothing. */
export const quiet = createLogger({ level: "error", write: () => {} });

/** Certificates of a small cluster, for tests over real TLS. */
export interface TestCluster extends AsyncDisposable {
  readonly identify: IdentifyPeer;
  /** The material of a process: site/service. */
  tls(name: string): TlsSource;
  /** Starts a server for `name` and returns a client of it, as `as` would have it. */
  connect(node: NodeBytes, options?: Partial<ByteServerOptions> & { name?: string; as?: string }): Promise<Connected>;
}

/** A node's byte listener, and somebody who uses it. */
export interface Connected extends AsyncDisposable {
  readonly url: string;
  readonly client: NodeBytes;
}

/** Makes certificates for sites eu and us, each with a blob node and a gateway. */
export async function createTestCluster(): Promise<TestCluster> {
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), "meridian-transfer-"));
  stack.defer(() => rm(dir, { recursive: true }));
  const trustDomain = "test.meridian";
  const processes = ["blob-node", "gateway"].map((service) => ({ process: service, service }));
  const sites = ["eu", "us"].map((name) => ({ name, processes }));
  const pki = await ensureDevPki({ dir, trustDomain, sites, clock: createSystemClock() });
  const identify = createIdentifyPeer(trustDomain);
  const resources = stack.move();

  const tls = (name: string): TlsSource => {
    const [site = "", service = ""] = name.split("/");
    const files = pki.sites[site]?.processes[service];
    if (files === undefined) throw new Error(`no certificate for ${name}`);
    return resources.use(fileTlsSource({ ...files, ca: pki.ca }));
  };
  return {
    identify,
    tls,
    async connect(node, { name = "eu/blob-node", as = "eu/gateway", ...options } = {}) {
      await using connected = new AsyncDisposableStack();
      const server = connected.use(
        await startByteServer({
          ...{ node, tls: tls(name), identify, allow: () => true, host: "127.0.0.1", port: 0, log: quiet },
          ...options,
        }),
      );
      const client = connected.use(
        createByteClient({ node: name, url: server.url, tls: tls(as), identify, log: quiet }),
      );
      const open = connected.move();
      return { url: server.url, client, [Symbol.asyncDispose]: () => open.disposeAsync() };
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** A sink that keeps a copy of what it is given. */
export function collect(): { write(chunk: Uint8Array): void; bytes(): Buffer; readonly length: number } {
  const chunks: Buffer[] = [];
  return {
    write: (chunk) => void chunks.push(Buffer.from(chunk)),
    bytes: () => Buffer.concat(chunks),
    get length() {
      return chunks.reduce((sum, { length }) => sum + length, 0);
    },
  };
}
