import { readFile, rename, writeFile } from "node:fs/promises";
import { ContentError } from "@meridian/oci";
import { z } from "zod";

const schema = z.object({
  format: z.literal(1),
  paused: z.boolean(),
  /** Absent: as configured. */
  blobsPerSecond: z.int().min(1).optional(),
});

/** What an operator told the collection of this site. */
export type CollectionSettings = Readonly<Omit<z.infer<typeof schema>, "format">>;

/** Where it is kept. */
export interface CollectionSettingsStore {
  readonly settings: CollectionSettings;
  /** Durable when it resolves. */
  set(settings: CollectionSettings): Promise<void>;
}

/** @throws when the text is none. */
export function parseSettings(text: string): CollectionSettings {
  const { format: _format, ...settings } = schema.parse(JSON.parse(text));
  return settings;
}

/** Keeps it over restarts, where the site is one process. */
export class CollectionSettingsFile implements CollectionSettingsStore {
  readonly #path: string | undefined;
  #settings: CollectionSettings;

  private constructor(path: string | undefined, settings: CollectionSettings) {
    this.#path = path;
    this.#settings = settings;
  }

  /** `path` absent: kept in memory. @throws ContentError `unavailable` when there is a file that cannot be read: it may say that nothing is to be removed. */
  static async open(path: string | undefined): Promise<CollectionSettingsFile> {
    const unset = { paused: false };
    if (path === undefined) return new CollectionSettingsFile(undefined, unset);
    try {
      return new CollectionSettingsFile(path, parseSettings(await readFile(path, "utf8")));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return new CollectionSettingsFile(path, unset);
      const message = `${path} says whether collection is paused and cannot be read: mend it, or remove it to let it go on`;
      throw new ContentError("unavailable", message, { cause });
    }
  }

  get settings(): CollectionSettings {
    return this.#settings;
  }

  async set(settings: CollectionSettings): Promise<void> {
    if (this.#path !== undefined) {
      const unfinished = `${this.#path}.new`;
      await writeFile(unfinished, `${JSON.stringify({ format: 1, ...settings })}\n`, { mode: 0o600, flush: true });
      await rename(unfinished, this.#path);
    }
    this.#settings = settings;
  }
}
