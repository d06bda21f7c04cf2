/** A change that waits would commit before it is done; @throws TypeError when the result is a promise. */
export function requireSynchronous<T>(result: T): T {
  if (typeof (result as { then?: unknown } | undefined | null)?.then === "function") {
    throw new TypeError("a transaction must be synchronous, this one returned a promise");
  }
  return result;
}
