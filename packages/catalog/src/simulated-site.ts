import { create } from "@bufbuild/protobuf";
import { createMemoryStore } from "@meridian/keyvalue";
import { type Digest, digestOf } from "@meridian/oci";
import { type Clock, type Logger, systemTimers } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import type { CatalogReader, Change, TagCondition } from "./catalog.ts";
import { planCommit, recordsOf, viewKeyOf } from "./commit-plan.ts";
import { createHlcClock, type HlcClock } from "./hlc.ts";
import { registerName, subjectOf } from "./keys.ts";
import { findRecord } from "./lookups.ts";
import { decodeRecord, encodeRecord, latestTime, mergeRecords } from "./merge.ts";
import { View } from "./view.ts";
import type { TagConflict } from "./view-changes.ts";
import { decodeRegisterRow } from "./view-layout.ts";

/** A clock for the tests of this package: moves when told to. */
export interface ManualClock extends Clock {
  advance(ms: number): void;
}

export function createManualClock(startMs = 1_800_000_000_000): ManualClock {
  let now = startMs;
  return {
    now: () => now,
    monotonic: () => now - startMs,
    advance: (ms) => {
      now += ms;
    },
  };
}

/** A logger that keeps its warnings and errors for the test to read. */
export function createRecordingLogger(): Logger & { readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (message: string): void => void lines.push(message);
  const logger = { lines, debug: () => {}, info: () => {}, warn: keep, error: keep, child: () => logger };
  return logger;
}

/** A digest for a name, so that tests can speak of "m1". */
export function digestFor(name: string): Digest {
  return digestOf(name);
}

/** A manifest's value; each reference is a name for {@link digestFor}. */
export function manifestOf(parts: {
  layers?: readonly string[];
  children?: readonly string[];
  subject?: string;
}): recordV1.ManifestValue {
  const { LAYER, CHILD } = recordV1.ReferenceRole;
  const reference = (role: recordV1.ReferenceRole) => (name: string) => ({
    digest: { algorithm: recordV1.DigestAlgorithm.SHA256, hash: Buffer.from(digestFor(name).slice(7), "hex") },
    size: 10n,
    role,
    mediaType: "application/vnd.example",
  });
  return create(recordV1.ManifestValueSchema, {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    size: 100n,
    artifactType: parts.subject === undefined ? "" : "application/vnd.example.signature",
    subject: parts.subject === undefined ? undefined : reference(LAYER)(parts.subject),
    references: [...(parts.layers ?? []).map(reference(LAYER)), ...(parts.children ?? []).map(reference(CHILD))],
  });
}

/**
 * A site without processes and disks: the real clock, plan, merge and view over a compacted log in memory. Tests say
 * who reads how much of whose log, and when.
 */
export class SimulatedSite {
  readonly name: string;
  readonly view: View;
  readonly warnings: string[];
  /** What this site wrote of the history of tags. */
  readonly histories: recordV1.Record[] = [];
  /** In the order in which they were folded. */
  readonly conflicts: TagConflict[] = [];
  readonly #hlc: HlcClock;
  readonly #log = new Map<string, { sequence: number; payload: Uint8Array }>();
  readonly #cursors = new Map<string, number>();
  #sequence = 0;

  constructor(
    name: string,
    { clock, skewMs = 0, maxSkewMs = 1e9 }: { clock: Clock; skewMs?: number; maxSkewMs?: number },
  ) {
    const skewed: Clock = { now: () => clock.now() + skewMs, monotonic: () => clock.monotonic() };
    const log = createRecordingLogger();
    this.name = name;
    this.warnings = log.lines;
    const highWater = { load: () => undefined, persist: () => Promise.resolve() };
    this.#hlc = createHlcClock({ clock: skewed, site: name, writer: "w", highWater, maxSkewMs });
    const observe = (time: bigint): void => this.#hlc.observe(time);
    const store = createMemoryStore();
    const conflicted = (conflict: TagConflict): void => void this.conflicts.push(conflict);
    const parts = { store, clock: skewed, timers: systemTimers, log, maxSkewMs, observe, conflicted };
    this.view = new View({ site: name, ...parts });
  }

  get reader(): CatalogReader {
    return this.view.reader;
  }

  /** Writes changes; returns the registers as published, in order. */
  async commit(changes: readonly Change[], condition?: TagCondition): Promise<recordV1.Record[]> {
    const plan = planCommit(this.view.store, changes, condition);
    const published: recordV1.Record[] = [];
    for (const [key, intent] of plan) {
      const seen = findRecord(this.view.store, key)?.record;
      const after = latestTime(seen);
      await this.#hlc.prepare(after);
      const { change, history } = recordsOf(intent, { seen, stamp: (latest) => this.#hlc.next(latest), after });
      this.histories.push(...(history === undefined ? [] : [history]));
      published.push(await this.publish(change));
    }
    return published;
  }

  /** Publishes the view's register merged with the change, and folds it. */
  async publish(change: recordV1.Record): Promise<recordV1.Record> {
    const name = registerName(change.key);
    if (name === undefined) {
      throw new Error("a change without a key");
    }
    const key = viewKeyOf(change.key ?? create(recordV1.KeySchema));
    const merged = mergeRecords(findRecord(this.view.store, key)?.record, change);
    this.#sequence += 1;
    const sequence = this.#sequence;
    this.#log.set(subjectOf(this.name, name), { sequence, payload: encodeRecord(merged) });
    const own = { stream: `META_${this.name}`, site: this.name, own: true };
    const record = decodeRecord(encodeRecord(merged));
    await this.view.fold(own, [{ record, sequence, originSequence: sequence }]);
    return merged;
  }

  /** Publishes again a register that this site has published before, merged with what it has seen since. */
  async republish(index: number): Promise<void> {
    const entry = [...this.#log.values()][index % Math.max(this.#log.size, 1)];
    if (entry !== undefined) {
      await this.publish(decodeRecord(entry.payload));
    }
  }

  /** How far its own log goes. */
  get head(): number {
    return this.#sequence;
  }

  /** How far it has read another site's log. */
  hasRead(other: string): number {
    return this.#cursors.get(other) ?? 0;
  }

  /**
   * Reads the next `count` entries of another site's log, or all of them from the start again; `upTo`: none beyond that
   * sequence, at which it has arrived then although its entry may have been compacted away.
   */
  async tail(
    other: SimulatedSite,
    { count = Number.POSITIVE_INFINITY, again = false, upTo }: { count?: number; again?: boolean; upTo?: number } = {},
  ): Promise<void> {
    const from = again ? 0 : (this.#cursors.get(other.name) ?? 0);
    const entries = [...other.#log.values()]
      .filter(({ sequence }) => sequence > from && sequence <= (upTo ?? Number.POSITIVE_INFINITY))
      .sort((a, b) => a.sequence - b.sequence)
      .slice(0, count);
    const origin = {
      stream: other === this ? `META_${this.name}` : `FROM_${other.name}`,
      site: other.name,
      own: other === this,
    };
    const records = entries.map(({ payload, sequence }) => ({
      record: decodeRecord(payload),
      sequence,
      originSequence: sequence,
    }));
    await this.view.fold(origin, records);
    this.#cursors.set(other.name, Math.max(from, entries.at(-1)?.sequence ?? 0, upTo ?? 0));
  }

  /** The rows of the view as text, without what is local to a site: sequences in its own log. */
  rows(): string[] {
    const text = (key: string, row: Uint8Array): string =>
      Buffer.from(/^r. /.test(key) ? decodeRegisterRow(row).record : row).toString("hex");
    return Array.from(this.view.store.range({}), ([key, row]) => `${key} → ${text(key, row)}`);
  }

  /** A new view from what the logs still hold. */
  async rebuilt(sites: readonly SimulatedSite[], clock: Clock): Promise<SimulatedSite> {
    const fresh = new SimulatedSite(this.name, { clock });
    for (const site of sites) {
      await fresh.tail(site);
    }
    return fresh;
  }
}

/** Every site reads every log to its end. */
export async function settle(sites: readonly SimulatedSite[]): Promise<void> {
  for (const site of sites) {
    for (const other of sites) {
      if (other !== site) {
        await site.tail(other);
      }
    }
  }
}
