import type { Position } from "./version-token.ts";

/**
 * How the gateways of one site tell each other what they have folded, so that a write is answered only when each of
 * them shows it.
 */
export interface FoldExchange extends AsyncDisposable {
  /** Tells the others that this process's fold of the site's own log moved. Cheap; told once a turn. */
  moved(): void;
  /**
   * Resolves once every other live gateway of the site has folded the site's own log up to the position.
   * @throws ContentError `unavailable` when the signal aborts first.
   */
  untilFolded(position: Position, signal: AbortSignal): Promise<void>;
  /** True while the others know of this process and wait for it: compared with the monotonic clock at every call. */
  readonly confirmed: boolean;
  /** The positions of an origin that the other live gateways have folded; undefined for one that has folded nothing of it. */
  othersFolded(origin: string): ReadonlyArray<Position | undefined>;
}

/** For a process that is its site's only gateway: nobody to tell, nobody to wait for. */
export function createLoneExchange(): FoldExchange {
  return {
    moved: () => {},
    untilFolded: () => Promise.resolve(),
    confirmed: true,
    othersFolded: () => [],
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
