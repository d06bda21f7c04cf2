import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DevProcess } from "@meridian/test/harness";
import { logIn, type PlainClient, pushFixture } from "../plain-client.ts";
import { type Fixture, type Peer, REPOSITORY, type ReadTarget } from "./peer.ts";

/** A Meridian site over plain HTTP that keeps no small blobs in memory: each read opens and reads a file. */
export class MeridianFromDisk implements Peer {
  readonly name = "Meridian";
  readonly #process: DevProcess;
  readonly #client: PlainClient;
  readonly #digest: string;

  private constructor(process: DevProcess, client: PlainClient, digest: string) {
    this.#process = process;
    this.#client = client;
    this.#digest = digest;
  }

  static async start(fixture: Fixture): Promise<MeridianFromDisk> {
    const folder = mkdtempSync(join(tmpdir(), "meridian-from-disk-"));
    try {
      const config = join(folder, "overlay.yaml");
      writeFileSync(config, "blobNode: { smallBlobCacheBytes: 0 }\n");
      const process = await DevProcess.start("--sites", "1", "--http", "--log-level", "warn", "--config", config);
      const client = await logIn(process.gateway("eu"), process.adminPassword, [REPOSITORY]);
      return new MeridianFromDisk(process, client, (await pushFixture(client, REPOSITORY, fixture)).small);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  pids(): readonly number[] {
    return [this.#process.pid("eu", "site")];
  }

  /** The small blob alone. */
  read(): ReadTarget {
    const { origin, authorization } = this.#client;
    return { url: `${origin}/v2/${REPOSITORY}/blobs/${this.#digest}`, headers: { authorization } };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]();
  }
}
