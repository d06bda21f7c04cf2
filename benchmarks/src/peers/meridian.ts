import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { DevProcess } from "@meridian/test/harness";
import { logIn, type PlainClient, pushFixture } from "../plain-client.ts";
import { type Content, type Fixture, type Peer, REPOSITORY, type ReadTarget } from "./peer.ts";

/** One Meridian site over plain HTTP and another over TLS, both with login and policy on. */
export class MeridianSites implements Peer {
  readonly name = "Meridian";
  readonly client: PlainClient;
  readonly basic: string;
  /** PEM files of the TLS site's edge, for peers to serve with. */
  readonly tls: { readonly cert: string; readonly key: string };
  readonly #plain: DevProcess;
  readonly #secure: DevProcess;
  readonly #secureClient: PlainClient;
  readonly #digests: Readonly<Record<"small" | "large", string>>;

  private constructor(parts: {
    plain: DevProcess;
    secure: DevProcess;
    client: PlainClient;
    secureClient: PlainClient;
    digests: Record<"small" | "large", string>;
  }) {
    this.#plain = parts.plain;
    this.#secure = parts.secure;
    this.client = parts.client;
    this.#secureClient = parts.secureClient;
    this.#digests = parts.digests;
    this.basic = basicOf(parts.plain);
    const pki = join(parts.secure.home, "pki", "eu");
    this.tls = { cert: join(pki, "edge.pem"), key: join(pki, "edge.key") };
  }

  static async start(fixture: Fixture): Promise<MeridianSites> {
    await using opened = new AsyncDisposableStack();
    const plain = opened.use(await DevProcess.start("--sites", "1", "--http", "--log-level", "warn"));
    const secure = opened.use(await DevProcess.start("--sites", "1", "--log-level", "warn"));
    setDefaultCACertificates([...getCACertificates("default"), secure.ca]);
    const client = await logIn(plain.gateway("eu"), plain.adminPassword, [REPOSITORY]);
    const secureClient = await logIn(secure.gateway("eu"), secure.adminPassword, [REPOSITORY]);
    const digests = await pushFixture(client, REPOSITORY, fixture);
    await pushFixture(secureClient, REPOSITORY, fixture);
    opened.move();
    return new MeridianSites({ plain, secure, client, secureClient, digests });
  }

  pids(secure: boolean): readonly number[] {
    return [(secure ? this.#secure : this.#plain).pid("eu", "site")];
  }

  read(content: Content, secure: boolean): ReadTarget {
    const { origin, authorization } = secure ? this.#secureClient : this.client;
    const path = content === "manifest" ? "manifests/v1" : `blobs/${this.#digests[content]}`;
    return { url: `${origin}/v2/${REPOSITORY}/${path}`, headers: { authorization } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#plain[Symbol.asyncDispose](), this.#secure[Symbol.asyncDispose]()]);
  }
}

function basicOf(cluster: DevProcess): string {
  return `Basic ${Buffer.from(`admin:${cluster.adminPassword}`).toString("base64")}`;
}
