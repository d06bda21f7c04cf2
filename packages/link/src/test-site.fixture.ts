import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { EventLog, EventLogs, LogEntry } from "@meridian/eventlog";
import { openEmbeddedLogs, openNatsLogs } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import { createRpcServer, type RpcServer, type ServiceClient } from "@meridian/rpc";
import { type Clock, createSystemClock, type Logger, systemRandom, systemTimers, type Timers } from "@meridian/runtime";
import { linkV1 } from "@meridian/wire";
import { type Copier, type CopierOptions, startCopier } from "./copier.ts";
import { createLogTailService, type ReaderReport } from "./log-tail-service.ts";
import { ownStream } from "./stream-names.ts";

export type TailClient = ServiceClient<typeof linkV1.LogTailService>;

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

export const MEMBERS = ["eu", "us", "ap"];

/** The system's timers and clock, running `factor` times as fast. */
export function hurried(factor: number): { timers: Timers; clock: Clock } {
  const clock = createSystemClock();
  return {
    timers: {
      sleep: (ms, options) => systemTimers.sleep(ms / factor, options),
      after: (ms, run) => systemTimers.after(ms / factor, run),
      every: (ms, run) => systemTimers.every(ms / factor, run),
    },
    clock: { now: () => clock.now(), monotonic: () => clock.monotonic() * factor },
  };
}

export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await pause(2);
  }
}

/** Every live entry of a log, in order. */
export async function entriesOf(log: EventLog): Promise<LogEntry[]> {
  const { sequence } = await log.head();
  const entries: LogEntry[] = [];
  if (sequence === 0) return entries;
  const reading = new AbortController();
  for await (const batch of log.tail(0, { signal: reading.signal })) {
    entries.push(...batch.entries);
    if ((entries.at(-1)?.sequence ?? 0) >= sequence) break;
  }
  reading.abort();
  return entries;
}

/** One site, on the embedded log in a folder of its own or on NATS, serving its LogTail. */
export class TestSite implements AsyncDisposable {
  readonly name: string;
  readonly folder: string;
  readonly reports: { site: string; origin: string; report: ReaderReport }[] = [];
  readonly timers: Timers;
  readonly clock: Clock;
  logs!: EventLogs;
  server!: RpcServer;
  #open = new AsyncDisposableStack();

  readonly #nats: string | undefined;

  private constructor(
    name: string,
    folder: string,
    { timers, clock, nats }: { timers: Timers; clock: Clock; nats?: string },
  ) {
    this.name = name;
    this.folder = folder;
    this.timers = timers;
    this.clock = clock;
    this.#nats = nats;
  }

  /** `nats`: the URL of the server that has its log, instead of a file of its own. */
  static async start(
    name: string,
    time: { timers: Timers; clock: Clock } = hurried(1),
    nats?: string,
  ): Promise<TestSite> {
    const site = new TestSite(name, await mkdtemp(join(tmpdir(), `link-${name}-`)), { ...time, nats });
    await site.open();
    return site;
  }

  async open(clock: Clock = this.clock): Promise<void> {
    const { name: site, timers, folder } = this;
    const common = { site, writer: `${site}/site`, clock, random: systemRandom, timers };
    const logs =
      this.#nats === undefined
        ? await openEmbeddedLogs({ ...common, path: join(folder, "log") })
        : await openNatsLogs({ ...common, servers: [this.#nats], durableAcks: true });
    this.logs = this.#open.use(logs);
    this.server = this.#open.use(createRpcServer({ log: silent, timers }));
    const onReport = (reader: string, origin: string, report: ReaderReport): void => {
      this.reports.push({ site: reader, origin, report });
    };
    const service = createLogTailService({ site, members: () => MEMBERS, logs, timers, log: silent, onReport });
    this.server.register(linkV1.LogTailService, service);
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = new AsyncDisposableStack();
    await open.disposeAsync();
  }

  /** Opens again with what is on disk. */
  async restart(): Promise<void> {
    await this.close();
    await this.open();
  }

  /** The folder as it is now, to be put back by {@link restore}: what a lost tail leaves. */
  async snapshot(): Promise<string> {
    await this.close();
    const kept = `${this.folder}-kept`;
    await cp(this.folder, kept, { recursive: true });
    await this.open();
    return kept;
  }

  async restore(kept: string): Promise<void> {
    await this.close();
    await rm(this.folder, { recursive: true });
    await cp(kept, this.folder, { recursive: true });
    await rm(kept, { recursive: true });
    await this.open();
  }

  /** Forgets everything: the next log is a new life, created at the clock's time. */
  async wipe(clock: Clock = this.clock): Promise<void> {
    await this.close();
    await rm(this.folder, { recursive: true });
    await this.open(clock);
  }

  async own(): Promise<EventLog> {
    return this.logs.open(ownStream(this.name));
  }

  async append(key: string, text: string): Promise<number> {
    const log = await this.own();
    return log.append({ subject: `m.${this.name}.tag.${key}`, payload: Buffer.from(text) });
  }

  /** A caller of this site's LogTail as it is at each call. */
  client(): TailClient {
    return this.server.local(linkV1.LogTailService)!;
  }

  copier(origin: string, options: Partial<CopierOptions> & Pick<CopierOptions, "client">): Copier {
    const { name: site, logs, timers, clock } = this;
    return startCopier({ site, origin, logs, timers, clock, random: systemRandom, log: silent, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A connection that can be cut: after a number of entries, or now and for good until healed. */
export class Cable {
  readonly #to: () => TailClient;
  #entriesLeft = Number.POSITIVE_INFINITY;
  #cut = false;

  constructor(to: () => TailClient) {
    this.#to = to;
  }

  readonly client: TailClient = {
    tail: (requests, options) => this.#tail(requests, options),
  };

  cut(): void {
    this.#cut = true;
  }

  heal(): void {
    this.#cut = false;
    this.#entriesLeft = Number.POSITIVE_INFINITY;
  }

  /** Lets so many more entries through, then breaks the connection once. */
  breakAfter(entries: number): void {
    this.#entriesLeft = entries;
  }

  async *#tail(...[requests, options]: Parameters<TailClient["tail"]>): AsyncGenerator<linkV1.TailResponse> {
    this.#requireUp();
    for await (const response of this.#to().tail(requests, options)) {
      this.#requireUp();
      if (response.message.case !== "batch" || response.message.value.entries.length <= this.#entriesLeft) {
        if (response.message.case === "batch") this.#entriesLeft -= response.message.value.entries.length;
        yield response;
        continue;
      }
      const { entries, head } = response.message.value;
      const some = entries.slice(0, this.#entriesLeft);
      this.#entriesLeft = Number.POSITIVE_INFINITY;
      if (some.length > 0) {
        const value = { ...response.message.value, entries: some, head };
        yield { ...response, message: { case: "batch", value } };
      }
      throw new ContentError("unavailable", "the connection broke");
    }
  }

  #requireUp(): void {
    if (this.#cut) throw new ContentError("unavailable", "the link is cut");
  }
}
