import { ContentError, ContentErrorKind } from "@meridian/oci";
import { type Clock, type Logger, type OnPersistStep, type Random, systemTimers, type Timers } from "@meridian/runtime";
import { newIncarnation } from "../cursor.ts";
import type { EventLog, EventLogs, Incarnation, OpenOptions } from "../event-log.ts";
import { LocalBulletin } from "../local-bulletin.ts";
import { requireStreamName } from "../stream-name.ts";
import { AppendQueue } from "./append-queue.ts";
import { EmbeddedLog } from "./embedded-log.ts";
import { idKey, type LogFile, openLogFile, type StreamMeta } from "./log-file.ts";

const DROP_CHUNK = 2_000;

/** Settings of {@link openEmbeddedLogs}. */
export interface EmbeddedLogsOptions {
  /** The folder of the file; created when absent. One process at a time may have it open. */
  readonly path: string;
  readonly site: string;
  /** The process, e.g. `eu/site`: named in session records. */
  readonly writer: string;
  readonly clock: Clock;
  readonly random: Random;
  /** For heartbeats; the system's when absent. */
  readonly timers?: Timers;
  readonly log?: Logger;
  /** For fault tests. */
  readonly onStep?: OnPersistStep;
}

/**
 * The logs of a site that runs as one process, in one LMDB file. An append is acknowledged after its fsync; appends made
 * while one runs share the next. Throws ContentError `invalid` when a newer Meridian wrote the file.
 */
export async function openEmbeddedLogs(options: EmbeddedLogsOptions): Promise<EventLogs> {
  return openLogsOf(await openLogFile(options.path), options);
}

/** The same on a file that is open already; closed with the logs. */
export async function openLogsOf(file: LogFile, options: Omit<EmbeddedLogsOptions, "path">): Promise<EventLogs> {
  const logs = new EmbeddedLogs(file, options);
  await logs.sweep();
  return logs;
}

class EmbeddedLogs implements EventLogs {
  readonly bulletin = new LocalBulletin();
  readonly #file: LogFile;
  readonly #options: Omit<EmbeddedLogsOptions, "path">;
  readonly #queue: AppendQueue;
  readonly #logs = new Map<string, EmbeddedLog>();
  #closed = false;

  constructor(file: LogFile, options: Omit<EmbeddedLogsOptions, "path">) {
    this.#file = file;
    this.#options = options;
    this.#queue = new AppendQueue(file, options, options.timers ?? systemTimers, options.onStep);
  }

  async open(stream: string, options: OpenOptions = {}): Promise<EventLog> {
    this.#requireOpen();
    requireStreamName(stream);
    const meta = await this.#file.write(() => this.#metaOf(stream, options));
    const { timers = systemTimers, site } = this.#options;
    const log = this.#logs.get(stream) ?? new EmbeddedLog(stream, this.#file, this.#queue, timers);
    this.#logs.set(stream, log);
    log.begin(meta, options.sessions ?? stream === `META_${site}`);
    return log;
  }

  #known(stream: string): StreamMeta | undefined {
    const known = this.#file.meta.get(`stream/${stream}`) as StreamMeta | undefined;
    return known && { ...known, incarnation: { ...known.incarnation, created: BigInt(known.incarnation.created) } };
  }

  #metaOf(stream: string, { compact = true, incarnation }: OpenOptions): StreamMeta {
    const { meta } = this.#file;
    const known = this.#known(stream);
    if (known !== undefined) {
      return known;
    }
    const id = (meta.get("next") as number | undefined) ?? 1;
    const { clock, random } = this.#options;
    const made: StreamMeta = { id, compact, incarnation: incarnation ?? newIncarnation(clock, random) };
    meta.putSync("next", id + 1);
    meta.putSync(`stream/${stream}`, made);
    return made;
  }

  async renew(stream: string, { above }: { above?: Incarnation } = {}): Promise<EventLog> {
    this.#requireOpen();
    const { clock, random } = this.#options;
    await this.#file.write(() => {
      const known = this.#known(stream);
      if (known === undefined) {
        throw new ContentError(ContentErrorKind.unavailable, `log ${stream} does not exist`);
      }
      const lives = [known.incarnation, ...(above === undefined ? [] : [above])];
      this.#file.meta.putSync(`stream/${stream}`, { ...known, incarnation: newIncarnation(clock, random, lives) });
    });
    return this.open(stream);
  }

  async streams(): Promise<string[]> {
    this.#requireOpen();
    const keys = this.#file.meta.getKeys({ start: "stream/", end: "stream0" });
    return [...keys].map((key) => key.slice("stream/".length));
  }

  async drop(stream: string): Promise<void> {
    this.#requireOpen();
    await this.#file.write(() => {
      const known = this.#file.meta.get(`stream/${stream}`) as StreamMeta | undefined;
      if (known !== undefined) {
        this.#file.meta.removeSync(`stream/${stream}`);
        this.#file.meta.putSync(`dropped/${known.id}`, true);
      }
      // Not before: whoever read it looks whether it is there still, and would make it again.
      this.#logs.get(stream)?.end();
    });
    await this.sweep();
  }

  /** Removes what dropped streams left, also those of an earlier run, a chunk at a time. */
  async sweep(): Promise<void> {
    for (const key of [...this.#file.meta.getKeys({ start: "dropped/", end: "dropped0" })]) {
      const id = Number(key.slice("dropped/".length));
      while (await this.#file.write(() => this.#removeChunk(id))) {
        // Other appends have their turn between two chunks.
      }
      await this.#file.write(() => this.#file.meta.removeSync(key));
    }
  }

  #removeChunk(id: number): boolean {
    this.#file.heads.removeSync(idKey(id));
    const range = { start: idKey(id), end: idKey(id + 1), limit: DROP_CHUNK };
    return [this.#file.entries, this.#file.subjects, this.#file.sessions].some((database) => {
      const keys = [...database.getKeys(range)];
      for (const key of keys) {
        database.removeSync(key);
      }
      return keys.length > 0;
    });
  }

  async probe(): Promise<void> {
    this.#requireOpen();
    const lack = await this.#file.lackOfSpace();
    if (lack !== undefined) {
      throw new ContentError(ContentErrorKind.noSpace, lack);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    this.bulletin.close();
    await this.#queue.close();
    for (const log of this.#logs.values()) {
      log.end();
    }
    await this.#file.close();
  }

  #requireOpen(): void {
    if (this.#closed) {
      throw new ContentError(ContentErrorKind.unavailable, "the log was closed");
    }
  }
}
