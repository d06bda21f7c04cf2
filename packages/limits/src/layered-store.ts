import type { LimitStore } from "./limit-store.ts";

/**
 * A store that the site's processes share over one of this process. Whatever happens here is counted here too, so that a
 * process which loses the shared store goes on from what it knows, at once and without an error. What this process alone
 * refuses is refused without asking. Disposing it disposes both.
 */
export function layeredStore(local: LimitStore, shared: LimitStore): LimitStore {
  /** What the shared store says, or `instead` while it cannot be asked. */
  const orElse = async <T>(asked: Promise<T>, instead: T): Promise<T> => {
    try {
      return await asked;
    } catch {
      return instead;
    }
  };
  return {
    async addFailure(key, options) {
      const here = await local.addFailure(key, options);
      return Math.max(here, await orElse(shared.addFailure(key, options), here));
    },
    async clearFailures(key) {
      await local.clearFailures(key);
      await orElse(shared.clearFailures(key), undefined);
    },
    async takeToken(key, rate) {
      const here = await local.takeToken(key, rate);
      return here > 0 ? here : await orElse(shared.takeToken(key, rate), 0);
    },
    async takeLease(key, lease, terms) {
      if (!(await local.takeLease(key, lease, terms))) return false;
      const isTaken = await orElse(shared.takeLease(key, lease, terms), true);
      if (!isTaken) await local.releaseLease(key, lease);
      return isTaken;
    },
    async releaseLease(key, lease) {
      await local.releaseLease(key, lease);
      await orElse(shared.releaseLease(key, lease), undefined);
    },
    async readNote(key) {
      return (await local.readNote(key)) ?? (await orElse(shared.readNote(key), undefined));
    },
    async keepNote(key, note, options) {
      await local.keepNote(key, note, options);
      await orElse(shared.keepNote(key, note, options), undefined);
    },
    async [Symbol.asyncDispose]() {
      await shared[Symbol.asyncDispose]();
      await local[Symbol.asyncDispose]();
    },
  };
}
