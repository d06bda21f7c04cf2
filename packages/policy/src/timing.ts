/** The rhythm of the policy log, in milliseconds. */
export interface PolicyTiming {
  /** How often a member reports, and the home answers, while nothing changes. */
  readonly heartbeatMs: number;
  /** Silence after which the other end counts as gone. */
  readonly silentMs: number;
  /** How long a proposal waits for a majority to be reachable before it is refused. */
  readonly quorumWaitMs: number;
  /** How long a proposal waits, once written, to become effective. */
  readonly commitWaitMs: number;
  /** The longest pause between two attempts to reach the home. */
  readonly retryMs: number;
}

/** The proposal's two waits stay together below the 5 s that token clients and unary calls give. */
export const DEFAULT_TIMING: PolicyTiming = {
  heartbeatMs: 1_000,
  silentMs: 3_000,
  quorumWaitMs: 2_000,
  commitWaitMs: 2_500,
  retryMs: 1_000,
};
