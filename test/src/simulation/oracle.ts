import assert from "node:assert/strict";
import {
  compareHlc,
  decodeRecord,
  encodeRecord,
  fromWireDigest,
  isAlive,
  mergeRecords,
  registersOf,
} from "@meridian/catalog";
import type { NewEntry } from "@meridian/eventlog";
import type { OrderedReader, OrderedStore } from "@meridian/keyvalue";
import type { recordV1 } from "@meridian/wire";
import type { Watcher } from "./watched-logs.ts";

/** A write whose outcome the oracle is told. */
export interface WatchedWrite {
  readonly site: string;
  /** The registers that it wrote, as they were handed to the log: the newest attempt of each. */
  readonly written: Map<string, recordV1.Record>;
}

/** The name of a record's register in a view. */
export function registerKey(key: recordV1.Key | undefined): string | undefined {
  const kind = key?.kind;
  switch (kind?.case) {
    case "tag":
      return `rt ${kind.value.repository} ${kind.value.tag}`;
    case "manifest":
      return `rm ${kind.value.repository} ${fromWireDigest(kind.value.digest)}`;
    case "link":
      return `rl ${kind.value.repository} ${fromWireDigest(kind.value.digest)}`;
    default:
      return undefined;
  }
}

/** A view's register; undefined when it has none. */
export function registerIn(view: OrderedReader, key: string): recordV1.Record | undefined {
  for (const { key: found, record } of registersOf(view, { from: key, limit: 1 })) {
    if (found === key) return decodeRecord(record);
  }
  return undefined;
}

/**
 * The model: plain maps of what was put, what was deleted after having been seen, and what was acknowledged. It is told
 * of every attempt to write and of every answer, and says whether a view keeps the promises.
 */
export class Oracle implements Watcher {
  /** Every put that was ever handed to a log, by register and reading. */
  readonly #puts = new Map<string, recordV1.Hlc>();
  /** Puts that a delete saw, in any attempt. */
  readonly #deletedAny = new Set<string>();
  /** Puts that an acknowledged delete saw. */
  readonly #deletedSurely = new Set<string>();
  /** The merge of all that was acknowledged, by register. */
  readonly #acknowledged = new Map<string, recordV1.Record>();
  readonly #open = new Set<WatchedWrite>();
  writes = 0;
  answered = 0;

  begin(site: string): WatchedWrite {
    const write = { site, written: new Map<string, recordV1.Record>() };
    this.#open.add(write);
    this.writes += 1;
    return write;
  }

  /** Writes at the site that were not answered yet. */
  openWrites(site: string): number {
    return [...this.#open].filter((write) => write.site === site).length;
  }

  failed(write: WatchedWrite): void {
    this.#open.delete(write);
  }

  appending(site: string, { payload, subject }: NewEntry, view: OrderedStore): void {
    if (["history", "session", "life"].includes(subject.split(".")[2] ?? "")) return;
    const record = decodeRecord(payload);
    const key = registerKey(record.key);
    if (key === undefined) return;
    const seen = registerIn(view, key);
    if (record.put?.hlc !== undefined) this.#puts.set(nameOf(key, record.put.hlc), record.put.hlc);
    for (const hlc of record.deleted) {
      const known = seen?.deleted.find((other) => other.site === hlc.site);
      if (known !== undefined && compareHlc(known, hlc) >= 0) continue;
      const name = nameOf(key, hlc);
      assert.ok(this.#puts.has(name), `a delete of ${key} at ${site} names a put that never was`);
      this.#deletedAny.add(name);
    }
    for (const write of this.#open) if (write.site === site) write.written.set(key, record);
  }

  /** The site answered that it was written: it shows it, from now on everywhere. `keys`: the registers it was about. */
  acknowledged(write: WatchedWrite, view: OrderedReader, keys: readonly string[]): void {
    this.#open.delete(write);
    this.answered += 1;
    for (const key of keys) {
      const shown = registerIn(view, key);
      const record = write.written.get(key) ?? shown;
      if (record === undefined) continue;
      assert.ok(includes(shown, record), `${write.site} answered and does not show its write of ${key}`);
      this.#acknowledged.set(key, mergeRecords(this.#acknowledged.get(key), record));
      for (const hlc of record.deleted) this.#deletedSurely.add(nameOf(key, hlc));
    }
  }

  /** At the end: everything acknowledged is there, and a put is dead exactly when a delete saw it. */
  checkEnd(site: string, view: OrderedReader): void {
    for (const [key, record] of this.#acknowledged) {
      assert.ok(includes(registerIn(view, key), record), `${site} has lost what was acknowledged of ${key}`);
    }
    for (const { key, record } of registersOf(view)) {
      const register = decodeRecord(record);
      const hlc = register.put?.hlc;
      if (hlc === undefined || !/^r[tml] /.test(key)) continue;
      const name = nameOf(key, hlc);
      assert.ok(this.#puts.has(name), `${key} at ${site} shows a put that never was`);
      if (isAlive(register)) assert.ok(!this.#deletedSurely.has(name), `${key} at ${site} is back from the dead`);
      else assert.ok(this.#deletedAny.has(name), `${key} at ${site} is dead though no delete had seen it`);
    }
  }
}

function includes(register: recordV1.Record | undefined, record: recordV1.Record): boolean {
  if (register === undefined) return false;
  const bytes = (of: recordV1.Record): Uint8Array => encodeRecord({ ...of, mergedFrom: 0n });
  return Buffer.compare(bytes(mergeRecords(register, record)), bytes(register)) === 0;
}

function nameOf(key: string, { time, site, writer }: recordV1.Hlc): string {
  return `${key} ${time} ${site} ${writer}`;
}
