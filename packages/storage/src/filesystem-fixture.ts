import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSystemClock, type Logger, systemTimers } from "@meridian/runtime";
import type { BlobStore } from "./blob-store.ts";
import type { BlobStoreFixture } from "./contract.ts";
import { type FilesystemStoreOptions, openFilesystemStore } from "./filesystem-store.ts";

/** A logger that says nothing, for tests of what is not logging. */
export const silent: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silent,
};

/** Opens a store in a folder with the machine's clock, for tests. */
export function openStoreIn(root: string, more: Partial<FilesystemStoreOptions> = {}): Promise<BlobStore> {
  return openFilesystemStore({ root, clock: createSystemClock(), timers: systemTimers, log: silent, ...more });
}

/** A folder of its own, removed at the end. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "meridian-storage-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A filesystem store in a folder of its own; `wrap` may put something over it. */
export async function filesystemFixture(
  wrap: (store: BlobStore) => BlobStore = (store) => store,
): Promise<BlobStoreFixture> {
  const folder = await temporaryFolder();
  let current = wrap(await openStoreIn(folder.path));
  return {
    store: current,
    async reopen() {
      await current[Symbol.asyncDispose]();
      current = wrap(await openStoreIn(folder.path));
      return current;
    },
    async [Symbol.asyncDispose]() {
      await current[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
