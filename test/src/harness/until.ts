import { setTimeout as sleep } from "node:timers/promises";

/** Tries until `attempt` neither throws nor answers false; rejects with the last failure after `timeoutMs`. */
export async function until<T>(
  what: string,
  attempt: () => Promise<T> | T,
  timeoutMs = 30_000,
): Promise<Exclude<T, false>> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  do {
    try {
      const value = await attempt();
      if (value !== false) return value as Exclude<T, false>;
    } catch (error) {
      last = error;
    }
    await sleep(50);
  } while (performance.now() < deadline);
  throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: last });
}
