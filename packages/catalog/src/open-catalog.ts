import { toBinary } from "@bufbuild/protobuf";
import type { Cursor, EventLogs } from "@meridian/eventlog";
import { createMemoryStore, type OrderedStore } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import { type AdoptMode, type AdoptOptions, adoptRecords } from "./adopt-records.ts";
import { BulletinExchange } from "./bulletin-exchange.ts";
import type { Catalog, CatalogEvent, CatalogPins, CatalogReader, Change, TagCondition } from "./catalog.ts";
import { type Collectable, collectableOf } from "./collectable.ts";
import { type Comparable, comparableOf } from "./comparable.ts";
import { asContentError, Deadline } from "./deadline.ts";
import { Fold } from "./fold.ts";
import { createLoneExchange, type FoldExchange } from "./fold-exchange.ts";
import { HistoryKeeper } from "./history-keeper.ts";
import { createHlcClock, DEFAULT_MAX_SKEW_MS } from "./hlc.ts";
import { requireRecord } from "./merge.ts";
import { Outbox, type OutboxEntry } from "./outbox.ts";
import { type LogLife, OwnLogLife } from "./own-log-life.ts";
import { type OwnPuts, ownPutsAfter } from "./own-puts.ts";
import { PinKeeper } from "./pin-keeper.ts";
import { Pins } from "./pins.ts";
import { type Retirement, retirementOf } from "./retirement.ts";
import { tellConflict } from "./tag-conflict.ts";
import { DEFAULT_HISTORY, type HistoryKept, readTagHistory, type TagWrite } from "./tag-history.ts";
import type { Position } from "./version-token.ts";
import { View } from "./view.ts";
import type { TagConflict } from "./view-changes.ts";
import { tryFromWireDigest } from "./wire-digest.ts";
import { Writer } from "./writer.ts";

/** How long a client that was told "exists" may take for the manifest, unless told otherwise: milliseconds. */
const DEFAULT_PIN_MS = 24 * 3_600_000;

/** Settings of {@link openCatalog}. */
export interface CatalogOptions {
  readonly site: string;
  /** The process: unique inside the site, the same after a restart, e.g. `gateway-1`. */
  readonly writer: string;
  /** True when the process answers reads: then the writers of the site wait until it shows their writes. */
  readonly serving: boolean;
  /** True when no other process of the site can exist, as with the embedded log: ready without listening for others. */
  readonly alone?: boolean;
  /**
   * True when no write is taken before the site's log has what its peers hold of earlier lives of it: somebody has to
   * bring that in, then (the replicator does). Default: the log is as it is.
   */
  readonly restores?: boolean;
  readonly logs: EventLogs;
  /** Droppable: folded again from the logs when it is empty. Closed by its owner, after the catalog. */
  readonly view: OrderedStore;
  /** Never to be dropped: writes that the log may lack, and the clock's high-water. Closed by its owner, after the catalog. */
  readonly outbox: OrderedStore;
  /**
   * Where pins are kept, for at least `forMs` milliseconds each; the store outlives the process, and is closed by its
   * owner, after the catalog. Absent: in memory, for 24 hours.
   */
  readonly pins?: { readonly store: OrderedStore; readonly forMs: number };
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  /** True when the registry takes sparse manifests: then bytes alone, without the record, make nothing visible. */
  readonly sparse?: boolean;
  /** How long the history of tags is kept; 90 days and 100 writes of each when absent. */
  readonly history?: HistoryKept;
  /** True in the process that removes from the site's logs what exceeds the history that is kept. */
  readonly tidiesHistory?: boolean;
  /** Records further ahead of the clock are held until their time comes, in milliseconds; 2 000 when absent. */
  readonly maxSkewMs?: number;
}

/** How long the own log is waited for, in milliseconds. */
const OWN_PUTS_MS = 10_000;

/** A catalog with what only its own process asks of it. */
export interface OpenCatalog extends Catalog {
  /** A peer has durably copied this site's log up to the cursor: outbox entries up to there need not be kept. */
  reportCopied(site: string, cursor: Cursor): void;
  /** What was put at this site behind a place in its log, at most `limit` records of it: see own-puts.ts. */
  ownPuts(place: { readonly incarnation: string; readonly sequence: number }, limit: number): Promise<OwnPuts>;
  /** Publishes in the own log those records of an origin, or of the site itself, that its log has lost, or of an origin that has left: see adopt-records.ts. */
  adopt(origin: string, payloads: readonly Uint8Array[], mode?: AdoptMode): Promise<void>;
  /** Looks for copies of peers' logs now, instead of within a second. */
  lookForStreams(): Promise<void>;
  /** Drops the view and folds all logs again. Resolves once begun; `ready` is true when it is done. */
  rebuild(): Promise<void>;
}

/**
 * Opens the catalog of a process and begins to fold. Resolves although the log is away: what was folded before is
 * served, and {@link Catalog.ready} is false.
 */
export async function openCatalog(options: CatalogOptions): Promise<OpenCatalog> {
  const { clock, logs, site, writer, maxSkewMs = DEFAULT_MAX_SKEW_MS } = options;
  await using opened = new AsyncDisposableStack();
  const outbox = opened.use(new Outbox({ store: options.outbox, clock }));
  const hlc = opened.use(createHlcClock({ clock, site, writer, highWater: outbox.highWater(), maxSkewMs }));
  const observe = (time: bigint): void => hlc.observe(time);
  const conflicted = (conflict: TagConflict): void => tellConflict(conflict, { ...options, bulletin: logs.bulletin });
  const view = opened.use(new View({ ...options, store: options.view, maxSkewMs, observe, conflicted }));
  await view.open();
  const kept = options.history ?? DEFAULT_HISTORY;
  const keeper = options.tidiesHistory ? opened.use(new HistoryKeeper({ ...options, kept })) : undefined;
  const onHistory = keeper && ((stream: string, subject: string): void => keeper.noted(stream, subject));
  const onLost = (check: Parameters<LogLife["foundLost"]>[0]): void => void life.foundLost(check);
  const fold = opened.use(new Fold({ ...options, ahead: options.serving, view, onHistory, onLost }));
  const life = opened.use(new OwnLogLife({ ...options, view, fold, restores: options.restores ?? false }));
  const exchange = opened.use(openExchange(options, view, fold));
  // The site's own writes wait for the other gateways; how far these are in peers' logs is told with the next heartbeat.
  const moving = view.positions.onMoved((origin) => (origin === site ? exchange.moved() : undefined));
  opened.use(moving);
  const catalogWriter = opened.use(new Writer({ ...options, logs, view, fold, exchange, outbox, hlc, life }));
  const { store, forMs } = options.pins ?? { store: opened.use(createMemoryStore()), forMs: DEFAULT_PIN_MS };
  const pins = opened.use(
    new PinKeeper({ ...options, view, fold, hlc, life, pins: new Pins({ ...options, store, forMs }) }),
  );
  // Pins do not outlive the machine; writes that wait do, and count on what their clients had pinned.
  for (const digest of digestsIn(outbox.entries())) {
    pins.hold(digest);
  }
  await pins.open();
  await fold.start();
  const parts = {
    site,
    sparse: options.sparse ?? false,
    view,
    fold,
    exchange,
    writer: catalogWriter,
    pins,
    comparable: comparableOf({ ...options, view, fold }),
    life,
    retirement: retirementOf({ site, view, logs, life }),
    adopting: { ...options, fold, view },
    history: (repository: string, tag: string) =>
      readTagHistory({ logs, site, kept, nowMs: clock.now() }, repository, tag),
  };
  return new FoldedCatalog(parts, opened.move());
}

/** Whatever the entries name. */
function* digestsIn(entries: readonly OutboxEntry[]): Iterable<Digest> {
  for (const { key, put } of entries.flatMap(({ records }) => records)) {
    const named = key?.kind.case === "link" || key?.kind.case === "manifest" ? [key.kind.value.digest] : [];
    const tagged = put?.value.case === "tag" ? [put.value.value.digest] : [];
    const references = put?.value.case === "manifest" ? put.value.value.references.map(({ digest }) => digest) : [];
    yield* [...named, ...tagged, ...references].flatMap((digest) => tryFromWireDigest(digest) ?? []);
  }
}

function openExchange(options: CatalogOptions, view: View, fold: Fold): FoldExchange {
  if (options.alone) {
    return createLoneExchange();
  }
  const { logs, writer } = options;
  const { positions } = view;
  const caughtUp = (): boolean => fold.caughtUp;
  return new BulletinExchange({ ...options, process: writer, bulletin: logs.bulletin, positions, caughtUp });
}

interface Parts {
  readonly site: string;
  readonly sparse: boolean;
  readonly view: View;
  readonly fold: Fold;
  readonly exchange: FoldExchange;
  readonly writer: Writer;
  readonly pins: PinKeeper;
  readonly life: LogLife;
  readonly retirement: Retirement;
  readonly comparable: Comparable;
  readonly adopting: AdoptOptions;
  readonly history: (repository: string, tag: string) => Promise<TagWrite[]>;
}

class FoldedCatalog implements OpenCatalog {
  readonly #parts: Parts;
  readonly #reader: CatalogReader;
  readonly #collectable: Collectable;
  readonly #opened: AsyncDisposableStack;

  constructor(parts: Parts, opened: AsyncDisposableStack) {
    this.#parts = parts;
    this.#reader = parts.view.reader;
    this.#collectable = collectableOf(parts.view.store);
    this.#opened = opened;
  }

  tag: CatalogReader["tag"] = (repository, tag) => this.#reader.tag(repository, tag);
  manifest: CatalogReader["manifest"] = (repository, digest) => this.#reader.manifest(repository, digest);
  blob: CatalogReader["blob"] = (repository, digest) => this.#reader.blob(repository, digest);
  hasRepository: CatalogReader["hasRepository"] = (repository) => this.#reader.hasRepository(repository);
  tags: CatalogReader["tags"] = (repository, page) => this.#reader.tags(repository, page);
  repositories: CatalogReader["repositories"] = (page) => this.#reader.repositories(page);
  referrers: CatalogReader["referrers"] = (repository, subject) => this.#reader.referrers(repository, subject);
  linked: CatalogReader["linked"] = (repository, page) => this.#reader.linked(repository, page);
  tagsOf: CatalogReader["tagsOf"] = (repository, digest) => this.#reader.tagsOf(repository, digest);
  referencedBy: CatalogReader["referencedBy"] = (repository, digest) => this.#reader.referencedBy(repository, digest);
  repositoriesOf: CatalogReader["repositoriesOf"] = (digest, n) => this.#reader.repositoriesOf(digest, n);
  holders: CatalogReader["holders"] = (digest) => this.#reader.holders(digest);
  recordsFor: CatalogReader["recordsFor"] = (repository, digest) => this.#reader.recordsFor(repository, digest);
  deletedTags: CatalogReader["deletedTags"] = (repository, page) => this.#reader.deletedTags(repository, page);
  deletedManifests: CatalogReader["deletedManifests"] = (repository, page) =>
    this.#reader.deletedManifests(repository, page);
  deletedManifest: CatalogReader["deletedManifest"] = (repository, digest) =>
    this.#reader.deletedManifest(repository, digest);
  contents: CatalogReader["contents"] = (repository, digest) => this.#reader.contents(repository, digest);
  version: CatalogReader["version"] = () => this.#reader.version();

  get collectable(): Collectable {
    return this.#collectable;
  }

  get retirement(): Retirement {
    return this.#parts.retirement;
  }

  get comparable(): Comparable {
    return this.#parts.comparable;
  }

  get pins(): CatalogPins {
    return this.#parts.pins;
  }

  get life(): LogLife {
    return this.#parts.life;
  }

  get ready(): boolean {
    return this.#parts.fold.caughtUp && this.#parts.exchange.confirmed;
  }

  commit(changes: readonly Change[], options?: { condition?: TagCondition; signal?: AbortSignal }): Promise<string> {
    return this.#parts.writer.commit(changes, options);
  }

  async learn(records: readonly recordV1.Record[]): Promise<void> {
    const checked = records.map(requireRecord);
    await this.#parts.view.learn(checked).catch((error: unknown) => {
      throw asContentError(error);
    });
  }

  async learnManifest(
    repository: string,
    digest: Parameters<Catalog["learnManifest"]>[1],
    value: recordV1.ManifestValue,
  ): Promise<void> {
    const bytes = toBinary(recordV1.ManifestValueSchema, { ...value, sparse: this.#parts.sparse });
    const origin = this.#parts.site;
    await this.#parts.view.change((update) => update.learnManifest(repository, digest, bytes, origin));
  }

  async tagHistory(repository: string, tag: string): Promise<TagWrite[]> {
    return await this.#parts.history(repository, tag).catch((error: unknown) => {
      throw asContentError(error);
    });
  }

  subscribe(listener: (events: readonly CatalogEvent[]) => void): Disposable {
    return this.#parts.view.subscribe(listener);
  }

  reached(version: string, signal: AbortSignal): Promise<void> {
    return this.#parts.view.positions.reached(version, signal);
  }

  async ownLogShown(signal: AbortSignal): Promise<void> {
    const { fold, view } = this.#parts;
    const log = await fold.untilOwnLog(signal);
    await fold.untilRead((await log.head()).sequence, signal);
    await view.positions.until(() => !view.isFrozen, "what is pinned could not be linked again in time", signal);
  }

  stored(signal: AbortSignal): Promise<void> {
    return this.#parts.view.untilStored(signal);
  }

  async ownPuts(place: { incarnation: string; sequence: number }, limit: number): Promise<OwnPuts> {
    const { site, fold } = this.#parts;
    using deadline = new Deadline({
      timers: this.#parts.adopting.timers,
      ms: OWN_PUTS_MS,
      message: "the own log is away",
    });
    const log = await fold.untilOwnLog(deadline.signal);
    return ownPutsAfter(place, { site, log, reader: this.#reader, limit });
  }

  foldedPosition(origin: string): { readonly incarnation: string; readonly sequence: number } | undefined {
    const { exchange, view } = this.#parts;
    const own = view.positions.get(origin);
    if (own === undefined) {
      return undefined;
    }
    let sequence = own.sequence;
    for (const other of exchange.othersFolded(origin)) {
      sequence = Math.min(sequence, sequenceIn(own, other));
    }
    return { incarnation: own.incarnation.id, sequence };
  }

  reportCopied(_site: string, cursor: Cursor): void {
    this.#parts.writer.keeper.copied(cursor);
  }

  adopt(origin: string, payloads: readonly Uint8Array[], mode: AdoptMode = {}): Promise<void> {
    return adoptRecords(origin, payloads, { ...this.#parts.adopting, ...mode });
  }

  lookForStreams(): Promise<void> {
    return this.#parts.fold.poll();
  }

  rebuild(): Promise<void> {
    return this.#parts.fold.rebuild();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#opened.disposeAsync();
  }
}

/** How far another gateway is in the same life of the log; 0 when it reads another one. */
function sequenceIn(own: Position, other: Position | undefined): number {
  return other?.incarnation.id === own.incarnation.id ? other.sequence : 0;
}
