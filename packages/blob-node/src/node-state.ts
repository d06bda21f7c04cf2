import { readFile, rename } from "node:fs/promises";
import { ContentError } from "@meridian/oci";
import { z } from "zod";
import { writeSynced } from "./write-synced.ts";

const schema = z.object({
  format: z.literal(1),
  draining: z.boolean(),
  drainBlobs: z.number().int().min(0).default(0),
  drainBytes: z.number().int().min(0).default(0),
});

/** What a node remembers of its own standing. */
export type NodeStanding = Readonly<Omit<z.infer<typeof schema>, "format">>;

const ACTIVE: NodeStanding = { draining: false, drainBlobs: 0, drainBytes: 0 };

/** Whether this node is being drained: it knows itself, so that nobody's stale view can make it take new bytes. */
export class NodeStateFile {
  readonly #path: string | undefined;
  #standing: NodeStanding;

  private constructor(path: string | undefined, standing: NodeStanding) {
    this.#path = path;
    this.#standing = standing;
  }

  /** Reads the file; without one the node is active. `path` absent: kept in memory. @throws ContentError `unavailable` when it cannot be read. */
  static async open(path: string | undefined): Promise<NodeStateFile> {
    if (path === undefined) return new NodeStateFile(undefined, ACTIVE);
    try {
      const { format: _format, ...standing } = schema.parse(JSON.parse(await readFile(path, "utf8")));
      return new NodeStateFile(path, standing);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return new NodeStateFile(path, ACTIVE);
      const message = `${path} says whether this node is being drained and cannot be read: mend it, or remove it to make the node active`;
      throw new ContentError("unavailable", message, { cause });
    }
  }

  get standing(): NodeStanding {
    return this.#standing;
  }

  /** Durable when it resolves. */
  async set(standing: NodeStanding): Promise<void> {
    if (this.#path !== undefined) {
      const unfinished = `${this.#path}.new`;
      await writeSynced(unfinished, `${JSON.stringify({ format: 1, ...standing })}\n`);
      await rename(unfinished, this.#path);
    }
    this.#standing = standing;
  }

  /** @throws ContentError `unavailable` while the node is being drained. */
  requireTaking(): void {
    if (this.#standing.draining) throw new ContentError("unavailable", "this blob node is being drained");
  }
}
