import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { open, type RootDatabase } from "lmdb";
import type { Incarnation } from "../event-log.ts";
import { lackOfSpace } from "./free-space.ts";
import { writeError } from "./write-error.ts";

const FORMAT = 1;

/** A stream as its file remembers it. */
export interface StreamMeta {
  /** The stream's number inside the file; never used again after a drop. */
  readonly id: number;
  readonly incarnation: Incarnation;
  readonly compact: boolean;
}

/** One table of the file, sorted by key. Written inside {@link LogFile.write} only. */
export interface LogTable<K, V> {
  get(key: K): V | undefined;
  getRange(range: TableRange<K>): Iterable<{ readonly key: K; readonly value: V }>;
  getKeys(range: TableRange<K>): Iterable<K>;
  putSync(key: K, value: V): unknown;
  removeSync(key: K): unknown;
}

/** `start` is inclusive, `end` exclusive; with `reverse` the larger one comes first. */
export interface TableRange<K> {
  readonly start: K;
  readonly end: K;
  readonly limit?: number;
  readonly reverse?: boolean;
}

/**
 * The one LMDB file of an embedded log:
 *
 *     log.mdb
 *     ├── meta      "format" → 1, "next" → number of the next stream, "stream/<name>" → StreamMeta, "dropped/<id>" → true
 *     ├── heads     id                → last sequence, 8 bytes
 *     ├── entries   id ‖ sequence     → entry (entry-codec.ts)
 *     ├── subjects  id ‖ subject      → sequence of the subject's last entry, 8 bytes
 *     └── sessions  id ‖ sequence     → milliseconds since the Unix epoch, 8 bytes, then SHA-256 of the payload
 *
 * Numbers are big endian: id has 4 bytes, sequence 8.
 */
export interface LogFile {
  readonly meta: LogTable<string, unknown>;
  readonly heads: LogTable<Buffer, Buffer>;
  readonly entries: LogTable<Buffer, Buffer>;
  readonly subjects: LogTable<Buffer, Buffer>;
  readonly sessions: LogTable<Buffer, Buffer>;
  /**
   * Runs `change` in a transaction of its own, undone as a whole when something throws, and resolves once it is on disk.
   * Throws ContentError `no-space` or `unavailable` when it cannot be written.
   */
  write<T>(change: () => T): Promise<T>;
  /** What to tell the operator when too little room is left to write; undefined while there is enough. */
  lackOfSpace(): Promise<string | undefined>;
  /** A file on a disk that takes no writes is left open: lmdb would wait for ever. */
  close(): Promise<void>;
}

/** Opens the file in this folder, creating both. Throws ContentError `invalid` when a newer Meridian wrote it. */
export async function openLogFile(folder: string): Promise<LogFile> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, "log.mdb");
  // With batches by event turn, a failed commit also rejects a promise that nobody holds and so ends the process.
  const turns = { eventTurnBatching: false };
  const binary = { encoding: "binary", keyEncoding: "binary" } as const;
  const root = open<Buffer, Buffer>({ path, noSubdir: true, maxDbs: 8, ...binary, ...turns });
  const meta = root.openDB<unknown, string>("meta", { encoding: "msgpack", keyEncoding: "ordered-binary" });
  const file: LogFile = {
    ...writing(root, folder),
    lackOfSpace: () => lackOfSpace(folder),
    meta,
    heads: root.openDB<Buffer, Buffer>("heads", binary),
    entries: root.openDB<Buffer, Buffer>("entries", binary),
    subjects: root.openDB<Buffer, Buffer>("subjects", binary),
    sessions: root.openDB<Buffer, Buffer>("sessions", binary),
  };
  const format = meta.get("format");
  if (format !== undefined && format !== FORMAT) {
    await root.close();
    const advice = `this version knows format ${FORMAT}; use the newer one, or another data folder`;
    throw new ContentError(ContentErrorKind.invalid, `${path} has format ${String(format)}: ${advice}`);
  }
  if (format === undefined) {
    await meta.put("format", FORMAT);
    await root.flushed;
  } else {
    // An earlier process may have been killed between a commit and its sync; what is read from here on counts as synced.
    await synced(root).catch(async (error: unknown) => {
      throw await writeError(error, folder);
    });
  }
  return file;
}

/** Needs no room on the disk, as a transaction would. */
function synced(root: RootDatabase<Buffer, Buffer>): Promise<void> {
  // Its types do not know it.
  const syncing = root as unknown as { sync(done: (error?: Error) => void): void };
  return new Promise((resolve, reject) => syncing.sync((error) => (error ? reject(error) : resolve())));
}

function writing(root: RootDatabase<Buffer, Buffer>, folder: string): Pick<LogFile, "write" | "close"> {
  let failed = false;
  const write = async <T>(change: () => T): Promise<T> => {
    try {
      const result = await root.childTransaction(change);
      failed = false;
      await root.flushed;
      return result;
    } catch (error) {
      failed = true;
      throw await writeError(error, folder);
    }
  };
  return {
    write,
    async close() {
      // After a failed commit lmdb's close waits for a flush that never comes; a commit that succeeds ends that.
      if (failed) {
        await write(() => root.removeSync(idKey(0))).catch(() => undefined);
      }
      if (!failed) {
        await root.close();
      }
    },
  };
}

/** The key of a stream's number. */
export function idKey(id: number): Buffer {
  const key = Buffer.allocUnsafe(4);
  key.writeUInt32BE(id);
  return key;
}

/** The key of an entry or session. */
export function sequenceKey(id: number, sequence: number): Buffer {
  const key = Buffer.allocUnsafe(12);
  key.writeUInt32BE(id);
  key.writeBigUInt64BE(BigInt(sequence), 4);
  return key;
}

/** The sequence in such a key. */
export function sequenceOf(key: Buffer): number {
  return Number(key.readBigUInt64BE(4));
}

/** The key of a subject. */
export function subjectKey(id: number, subject: string): Buffer {
  const key = Buffer.allocUnsafe(4 + Buffer.byteLength(subject));
  key.writeUInt32BE(id);
  key.write(subject, 4);
  return key;
}

/** A sequence as a value. */
export function sequenceValue(sequence: number): Buffer {
  const value = Buffer.allocUnsafe(8);
  value.writeBigUInt64BE(BigInt(sequence));
  return value;
}

/** The reverse of {@link sequenceValue}; 0 when absent. */
export function readSequence(value: Buffer | undefined): number {
  return value === undefined ? 0 : Number(value.readBigUInt64BE(0));
}
