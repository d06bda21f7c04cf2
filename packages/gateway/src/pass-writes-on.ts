import type { Catalog } from "@meridian/catalog";
import type { SiteMonitor, Topology } from "@meridian/cluster";
import type { Timers } from "@meridian/runtime";
import type { Exchange } from "./exchange.ts";
import type { Handler, ResourceHandlers } from "./handler.ts";
import { unavailable } from "./refusal.ts";
import type { SiteMembers } from "./site-members.ts";
import { isPassedOn, type SiteProxy } from "./site-proxy.ts";

/** What {@link createPassWritesOn} needs. */
export interface PassWritesOnOptions {
  readonly topology: Topology;
  readonly monitor: Pick<SiteMonitor, "live">;
  readonly catalog: Pick<Catalog, "reached">;
  readonly members: SiteMembers;
  readonly proxy: SiteProxy;
  readonly timers: Timers;
}

/** A client that reads here what it wrote through here waits so long for it. */
const OWN_FOLD_MS = 2_000;
const WRITES = ["POST", "PUT", "PATCH", "DELETE"] as const;

/** Makes handlers of writes that go on at another site while this one drains: what is written here then would have to leave again. */
export function createPassWritesOn(options: PassWritesOnOptions): (handlers: ResourceHandlers) => ResourceHandlers {
  const { members, topology } = options;
  const wrap =
    (handler: Handler): Handler =>
    (exchange, match) =>
      members.isDraining(topology.site) ? passOn(exchange, options) : handler(exchange, match);
  return (handlers) => {
    const wrapped: { -readonly [Method in keyof ResourceHandlers]: Handler | undefined } = { ...handlers };
    for (const method of WRITES) {
      const handler = handlers[method];
      if (handler !== undefined) wrapped[method] = wrap(handler);
    }
    return wrapped as ResourceHandlers;
  };
}

async function passOn(exchange: Exchange, options: PassWritesOnOptions): Promise<void> {
  const { topology, monitor, members, proxy, catalog, timers } = options;
  const { site } = topology;
  const takers = monitor.live().filter((one) => !members.isDraining(one));
  const [taker] = takers;
  if (taker === undefined || isPassedOn(exchange)) {
    const others = topology.sites.filter((one) => one !== site && !members.isDraining(one));
    throw unavailable(`site ${site} is being drained and takes no writes: push to ${others.join(" or ")} instead`, {
      detail: { site, sites: others },
    });
  }
  await proxy.pass(exchange, taker, `site ${site} is being drained, and what is written`, {
    async answered(headers) {
      const version = headers["meridian-version"];
      if (typeof version !== "string") return;
      const late = new AbortController();
      using _deadline = timers.after(OWN_FOLD_MS, () => late.abort());
      // Here it may come later: the write stands all the same.
      await catalog.reached(version, AbortSignal.any([late.signal, exchange.signal])).catch(() => undefined);
    },
  });
}

/** Handlers of uploads that began here: they may end while the site drains, until its membership is about to end. */
export function untilClosed(
  handlers: ResourceHandlers,
  { members, topology }: Pick<PassWritesOnOptions, "members" | "topology">,
): ResourceHandlers {
  const guard =
    (handler: Handler): Handler =>
    (exchange, match) => {
      if (members.closed !== undefined)
        throw unavailable(`${members.closed}: start the upload anew`, { detail: { site: topology.site } });
      return handler(exchange, match);
    };
  return {
    ...handlers,
    ...(handlers.PATCH && { PATCH: guard(handlers.PATCH) }),
    ...(handlers.PUT && { PUT: guard(handlers.PUT) }),
  };
}
