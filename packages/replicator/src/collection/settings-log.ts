import type { EventLogs } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import {
  type CollectionSettings,
  CollectionSettingsFile,
  type CollectionSettingsStore,
  parseSettings,
} from "./settings-file.ts";

/** The site's own stream for it, which no other site copies. */
const STREAM = "COLLECTION";
const SUBJECT = `${STREAM}.settings`;

/**
 * What an operator told the collection, where the replicators of a site share it: the one to which the work goes next
 * keeps to a pause as well. What an earlier build wrote to a file counts until it is told anew.
 */
export class CollectionSettingsLog implements CollectionSettingsStore {
  readonly #logs: EventLogs;
  #settings: CollectionSettings;

  private constructor(logs: EventLogs, settings: CollectionSettings) {
    this.#logs = logs;
    this.#settings = settings;
  }

  /** @throws ContentError `unavailable` when it cannot be read: it may say that nothing is to be removed. */
  static async open(logs: EventLogs, path: string | undefined): Promise<CollectionSettingsLog> {
    const log = await logs.open(STREAM, { sessions: false });
    const last = await log.last(SUBJECT);
    if (last === undefined) return new CollectionSettingsLog(logs, (await CollectionSettingsFile.open(path)).settings);
    try {
      return new CollectionSettingsLog(logs, parseSettings(Buffer.from(last.payload).toString()));
    } catch (cause) {
      const message = `${SUBJECT} in the site's log says whether collection is paused and cannot be read`;
      throw new ContentError("unavailable", message, { cause });
    }
  }

  get settings(): CollectionSettings {
    return this.#settings;
  }

  async set(settings: CollectionSettings): Promise<void> {
    const log = await this.#logs.open(STREAM, { sessions: false });
    await log.append({ subject: SUBJECT, payload: Buffer.from(JSON.stringify({ format: 1, ...settings })) });
    this.#settings = settings;
  }
}
