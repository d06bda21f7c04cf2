import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "@meridian/test/harness";
import { anonymous, type PlainClient, pushFixture } from "../plain-client.ts";
import { type Content, type Fixture, type Peer, REPOSITORY, type ReadTarget, withChildren } from "./peer.ts";
import { Program } from "./program.ts";

/** A registry of somebody else that lets everybody in, over plain HTTP. */
class OpenRegistry implements Peer {
  readonly name: string;
  readonly client: PlainClient;
  readonly #program: Program;
  readonly #digests: Readonly<Record<"small" | "large", string>>;

  constructor(name: string, program: Program, client: PlainClient, digests: Record<"small" | "large", string>) {
    this.name = name;
    this.#program = program;
    this.client = client;
    this.#digests = digests;
  }

  pids(): readonly number[] {
    return withChildren(this.#program.pid);
  }

  read(content: Content, secure: boolean): ReadTarget | undefined {
    if (secure) return undefined;
    const path = content === "manifest" ? "manifests/v1" : `blobs/${this.#digests[content]}`;
    // Without Accept, Distribution would look for the oldest kind of manifest.
    const headers = { accept: "application/vnd.oci.image.manifest.v1+json" };
    return { url: `${this.client.origin}/v2/${REPOSITORY}/${path}`, headers };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#program[Symbol.asyncDispose]();
  }
}

/** Distribution v3 on a folder: it does not fsync what it answers for. */
export async function startDistribution(fixture: Fixture): Promise<Peer> {
  const program = new Program("distribution");
  const [port = 0] = await freePorts(1);
  const config = join(program.folder, "config.yml");
  writeFileSync(
    config,
    `version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: ${join(program.folder, "data")} } }
http: { addr: "127.0.0.1:${port}" }
`,
  );
  await program.start("registry", ["serve", config], port, { OTEL_TRACES_EXPORTER: "none" });
  return openRegistry("Distribution", program, port, fixture);
}

/** zot on a folder, with fsync (`commit`), without anything that it does beside serving. */
export async function startZot(fixture: Fixture): Promise<Peer> {
  const program = new Program("zot");
  const [port = 0] = await freePorts(1);
  const config = join(program.folder, "config.json");
  writeFileSync(
    config,
    JSON.stringify({
      distSpecVersion: "1.1.1",
      storage: { rootDirectory: join(program.folder, "data"), dedupe: false, gc: false, commit: true },
      http: { address: "127.0.0.1", port: String(port) },
      log: { level: "error" },
    }),
  );
  await program.start("zot", ["serve", config], port);
  return openRegistry("zot", program, port, fixture);
}

async function openRegistry(name: string, program: Program, port: number, fixture: Fixture): Promise<Peer> {
  const client = anonymous(`http://127.0.0.1:${port}`);
  return new OpenRegistry(name, program, client, await pushFixture(client, REPOSITORY, fixture));
}
