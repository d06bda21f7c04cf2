import type { Bulletin } from "@meridian/eventlog";
import type { Clock } from "@meridian/runtime";
import type { EffectivePolicy } from "./replica.ts";

/** Where a site's replica tells the site's other processes how fresh the policy is. */
const SUBJECT = "policy.fresh";

interface FreshMessage {
  readonly v: 1;
  /** Milliseconds, when sent. */
  readonly ageMs: number;
  /** What that age is about: the entries that were effective. */
  readonly seq: number;
}

/** Tells the site's readers how old its policy is; nothing while that is not known. */
export function publishFreshness(bulletin: Bulletin, effective: EffectivePolicy, ageMs: number): void {
  if (!Number.isFinite(ageMs)) return;
  const message: FreshMessage = { v: 1, ageMs, seq: effective.state.seq };
  bulletin.publish(SUBJECT, Buffer.from(JSON.stringify(message)));
}

/** Takes the replica's word, once what it speaks about is folded here too. Ends as the subscription does. */
export async function followFreshness(
  bulletin: Bulletin,
  effective: EffectivePolicy,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  let waiting: { freshAt: number; seq: number } | undefined;
  const settle = (): void => {
    if (!waiting || waiting.seq > effective.state.seq) return;
    effective.freshness.mark(waiting.freshAt);
    waiting = undefined;
  };
  using _folded = effective.changes.subscribe(settle);
  for await (const payload of bulletin.subscribe(SUBJECT, { signal })) {
    const message = parse(payload);
    // The oldest word that is still waited for stays: newer ones must not put it off for ever.
    if (message && !waiting) waiting = { freshAt: clock.monotonic() - message.ageMs, seq: message.seq };
    settle();
  }
}

function parse(payload: Uint8Array): FreshMessage | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(payload).toString());
    if (typeof value !== "object" || value === null) return undefined;
    const { v, ageMs, seq } = value as Partial<FreshMessage>;
    if (v !== 1 || typeof ageMs !== "number" || typeof seq !== "number" || ageMs < 0) return undefined;
    return { v, ageMs, seq };
  } catch {
    return undefined;
  }
}
