/** A stream that a view is folded from, and whose records it holds. */
export interface StreamOrigin {
  readonly stream: string;
  readonly site: string;
  /** True for the site's own log: its sequences are what compare-and-set is about. */
  readonly own: boolean;
}

/** Where records come from that other members answered with: no stream. */
export const ANSWERS: StreamOrigin = { stream: "", site: "", own: false };

/** A site's own log is `META_<site>`, its copy of a peer's is `FROM_<peer>`. Undefined for any other stream. */
export function originOf(stream: string, site: string): StreamOrigin | undefined {
  if (stream === "") {
    return ANSWERS;
  }
  if (stream === `META_${site}`) {
    return { stream, site, own: true };
  }
  const peer = /^FROM_(.+)$/.exec(stream)?.[1];
  return peer === undefined || peer === site ? undefined : { stream, site: peer, own: false };
}
