import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { ContentError } from "@meridian/oci";
import { type Logger, systemTimers, type Timers, type TlsMaterial, type TlsSource } from "@meridian/runtime";

/** What {@link fileTlsSource} needs: paths of PEM files, and how to watch them. */
export interface FileTlsSourceOptions {
  readonly key: string;
  /** Leaf first, then the intermediates. */
  readonly cert: string;
  /** The trust bundle. */
  readonly ca: string;
  readonly timers?: Timers;
  /** How often the files are looked at, in milliseconds. 10 000 when absent: renewal has days. */
  readonly pollMs?: number;
  /** Told about rotations and about files that do not fit. */
  readonly log?: Logger;
}

/**
 * TLS material from files, read again when one of them changes: rotation without restart. While key and certificate do
 * not fit each other (they are replaced one after the other) or cannot be read, the last good material stays.
 * Throws ContentError `invalid`, naming the file, when the first reading fails.
 */
export function fileTlsSource(options: FileTlsSourceOptions): TlsSource & Disposable {
  const subscribers = new Set<(material: TlsMaterial) => void>();
  let version = versionOf(options);
  let material = read(options);

  const look = (): void => {
    const seen = versionOf(options);
    if (seen === version) return;
    try {
      material = read(options);
    } catch (error) {
      options.log?.warn("TLS files changed but do not fit; keeping the old ones", { cert: options.cert, error });
      return;
    }
    version = seen;
    options.log?.info("TLS files changed; using the new ones", { cert: options.cert });
    for (const changed of subscribers) changed(material);
  };
  const poll = (options.timers ?? systemTimers).every(options.pollMs ?? 10_000, look);

  return {
    current: () => material,
    subscribe(changed) {
      subscribers.add(changed);
      return { [Symbol.dispose]: () => void subscribers.delete(changed) };
    },
    [Symbol.dispose]() {
      poll[Symbol.dispose]();
      subscribers.clear();
    },
  };
}

type Paths = Pick<FileTlsSourceOptions, "key" | "cert" | "ca">;

function read(paths: Paths): TlsMaterial {
  const material = { key: readText(paths.key), cert: readText(paths.cert), ca: readText(paths.ca) };
  let fits: boolean;
  try {
    new X509Certificate(material.ca);
    fits = new X509Certificate(material.cert).checkPrivateKey(createPrivateKey(material.key));
  } catch (error) {
    throw new ContentError("invalid", `${paths.cert}, its key or ${paths.ca} is no PEM`, { cause: error });
  }
  if (!fits) throw new ContentError("invalid", `${paths.key} is not the key of ${paths.cert}`);
  return material;
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new ContentError("invalid", `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Changes when any file is replaced or written; "missing" files count as a version of their own. */
function versionOf(paths: Paths): string {
  return [paths.key, paths.cert, paths.ca]
    .map((path) => {
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat === undefined ? "missing" : `${stat.ino}:${stat.mtimeMs}:${stat.size}`;
    })
    .join(" ");
}
