import { readFileSync } from "node:fs";
import type { PlainClient } from "../plain-client.ts";

/** What the reads of the benchmarks ask for. */
export type Content = "manifest" | "small" | "large";

/** The bytes that every peer serves. */
export interface Fixture {
  readonly manifest: string;
  /** 64 KiB and 100 MB that do not compress. */
  readonly small: Buffer;
  readonly large: Buffer;
}

/** Where one content is read. */
export interface ReadTarget {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** A server that the same work is given to. */
export interface Peer extends AsyncDisposable {
  readonly name: string;
  /** Its processes that serve plain HTTP, or TLS. */
  pids(secure: boolean): readonly number[];
  /** Undefined when the peer does not serve that way. */
  read(content: Content, secure: boolean): ReadTarget | undefined;
  /** Undefined when the peer takes no pushes. */
  readonly client?: PlainClient;
  /** Basic credentials that its token endpoint wants; undefined for a peer that lets everybody in. */
  readonly basic?: string;
}

export const REPOSITORY = "bench/app";

/** CPU time that these processes have used, user and system, in milliseconds: clock ticks of /proc, 100 a second. */
export function cpuMs(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
}

/** Resident and private memory of these processes together, in bytes. */
export function memoryOf(pids: readonly number[]): { resident: number; anonymous: number } {
  const sum = (field: string): number =>
    pids.reduce((total, pid) => {
      const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
      return total + Number(line?.[1] ?? 0) * 1024;
    }, 0);
  return { resident: sum("VmRSS"), anonymous: sum("RssAnon") };
}

/** The processes that this one started, and itself. */
export function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return [pid, ...(children === "" ? [] : children.split(" ").flatMap((child) => withChildren(Number(child))))];
}
