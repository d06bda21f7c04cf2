import type { EventLogs } from "@meridian/eventlog";
import { followFreshness } from "./bulletin-freshness.ts";
import { LogMirror } from "./log-mirror.ts";
import type { EffectivePolicy, PolicyRuntime } from "./replica.ts";

/** The stream that each site's replica writes. */
export const POLICY_STREAM = "POLICY";

/** Follows the site's own copy of the policy log, in a process that does not write it. */
export class PolicyReader {
  readonly #runtime: PolicyRuntime;
  readonly #logs: EventLogs;
  readonly #effective: EffectivePolicy;

  constructor(runtime: PolicyRuntime, logs: EventLogs, effective: EffectivePolicy) {
    this.#runtime = runtime;
    this.#logs = logs;
    this.#effective = effective;
  }

  /** Follows until the signal aborts; when the log goes away the policy stays as it is. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#repeat(signal, "policy log", () => this.#follow(signal)),
      this.#repeat(signal, "policy bulletin", () =>
        followFreshness(this.#logs.bulletin, this.#effective, this.#runtime.clock, signal),
      ),
    ]);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    // Read from the start each time: the log is small, and a tail that was lost and refilled cannot go unnoticed.
    const mirror = new LogMirror();
    const stream = await this.#logs.open(POLICY_STREAM);
    for await (const batch of stream.tail(0, { signal })) {
      if (batch.entries.length === 0) continue;
      for (const entry of batch.entries) mirror.ingest(entry.subject, entry.payload);
      this.#effective.advance(mirror);
      mirror.forget(this.#effective.state.seq);
    }
  }

  async #repeat(signal: AbortSignal, what: string, run: () => Promise<void>): Promise<void> {
    const { timers, timing, log } = this.#runtime;
    while (!signal.aborted) {
      try {
        await run();
      } catch (error) {
        if (!signal.aborted) log.warn(`${what} lost, will follow it again`, { error });
      }
      await timers.sleep(timing.retryMs / 4, { signal }).catch(() => undefined);
    }
  }
}
