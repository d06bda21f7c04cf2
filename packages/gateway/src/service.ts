import { isIPv6 } from "node:net";
import type { Catalog } from "@meridian/catalog";
import { createNodeWatch, type Peers, type SiteMonitor, type Topology } from "@meridian/cluster";
import { createLocalStore, type LimitStore } from "@meridian/limits";
import type { Decider, RepositorySettingsTable, TokenVerifier } from "@meridian/policy";
import type { RpcServer } from "@meridian/rpc";
import type {
  Clock,
  HealthCheck,
  HealthReport,
  Logger,
  OnPersistStep,
  Random,
  Timers,
  TlsSource,
} from "@meridian/runtime";
import type { NodeBytes } from "@meridian/transfer";
import { collectionV1, siteV1 } from "@meridian/wire";
import { createAccess } from "./access.ts";
import { createAnswerHeaders } from "./answer.ts";
import { createBlobPush } from "./blob-push.ts";
import { createBlobSources } from "./blob-sources.ts";
import { createClientOrigin } from "./client-origin.ts";
import { createCommitRecords } from "./commit-records.ts";
import type { GatewayConfig } from "./config.ts";
import { createConfirmService } from "./confirm-service.ts";
import { createCopyKeeper } from "./copy-keeper.ts";
import { createDispatch } from "./dispatch.ts";
import { createDurability } from "./durability.ts";
import { startEdgeServer } from "./edge-server.ts";
import { createFindContent } from "./find-content.ts";
import type { ResourceHandlers } from "./handler.ts";
import { createImageStates } from "./image-state.ts";
import { createLookup } from "./lookup.ts";
import { createManifestBytes } from "./manifest-bytes.ts";
import { MirroredUploads } from "./mirrored-upload.ts";
import { createPassWritesOn, untilClosed } from "./pass-writes-on.ts";
import { createPullInterest } from "./pull-interest.ts";
import { createReadiness } from "./readiness.ts";
import { createReceipts } from "./receipts.ts";
import { createReleasePins } from "./release-pins.ts";
import { createRequestLimits } from "./request-limits.ts";
import type { ResourceName } from "./router.ts";
import { grantsRoute, userRoute, usersRoute } from "./routes/administration.ts";
import { blobRoutes } from "./routes/blobs.ts";
import { catalogRoute } from "./routes/catalog.ts";
import { collectionRoute } from "./routes/collection.ts";
import { diffRoute } from "./routes/diff.ts";
import { livezRoute, readyzRoute } from "./routes/health.ts";
import { logRestoreRoute } from "./routes/log-restore.ts";
import { deleteManifest } from "./routes/manifest-delete.ts";
import { pullManifest } from "./routes/manifest-pull.ts";
import { pushManifest } from "./routes/manifest-push.ts";
import { replicationRoute, routeRoute, statusRoute } from "./routes/meridian.ts";
import { nodeRoute, nodesRoute } from "./routes/nodes.ts";
import { pingRoute } from "./routes/ping.ts";
import { referrersRoute } from "./routes/referrers.ts";
import { replicationProgressRoute } from "./routes/replication-progress.ts";
import { deleteRepositoryRoute } from "./routes/repository-delete.ts";
import { repositorySettingsRoute, settingsRoute } from "./routes/repository-settings.ts";
import { deletedRoute, restoreManifestRoute, restoreTagRoute } from "./routes/restore.ts";
import { salvageRoute } from "./routes/salvage.ts";
import { scrubRoute } from "./routes/scrub.ts";
import { siteRoute, sitesRoute } from "./routes/sites.ts";
import { tagHistoryRoute } from "./routes/tag-history.ts";
import { tagsRoute } from "./routes/tags.ts";
import { tokenRoute } from "./routes/token.ts";
import { uploadRoutes } from "./routes/upload.ts";
import { startUpload } from "./routes/uploads.ts";
import { fixedMembers, type SiteMembers } from "./site-members.ts";
import { createSiteProxy } from "./site-proxy.ts";
import { createSiteService } from "./site-service.ts";
import { createTagHome } from "./tag-home.ts";
import { createUploadLimit } from "./upload-limit.ts";
import { createUploadNodes } from "./upload-nodes.ts";

/** What a gateway shares with the other roles of its process, or is given by it. */
export interface GatewayDeps {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  /** Who is a member; absent: members never change. */
  readonly members?: SiteMembers;
  readonly catalog: Catalog;
  /** What was put at this site behind a place in its log; absent where nothing can be salvaged. */
  readonly ownPuts?: Parameters<typeof salvageRoute>[0]["ownPuts"];
  readonly decider: Decider;
  /** What the policy sets for repositories. */
  readonly settings: Pick<RepositorySettingsTable, "of">;
  readonly verifier: TokenVerifier;
  /** The bytes of a node, as site/process: in process or over HTTPS. Undefined when there is no way to it. */
  readonly bytesOf: (node: string) => NodeBytes | undefined;
  /** Where SiteService is registered; it must not listen yet. */
  readonly rpc: Pick<RpcServer, "register">;
  /** Signs the upload sessions of this site: the same at all of its gateways. */
  readonly uploadKey: Uint8Array;
  /** What limits of logins and uploads are kept in; absent: in this process alone. */
  readonly limits?: LimitStore;
  /** Certificate of the edge, and the trust for other sites' edges. Absent: plain HTTP. */
  readonly tls?: TlsSource;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  /** For fault tests. */
  readonly onStep?: OnPersistStep;
  /** What /readyz and other sites' pings are told: all checks of the process, {@link Gateway.checks} included. */
  readonly health: () => Promise<HealthReport>;
}

/** A gateway that listens. Disposing it drains and closes the edge. */
export interface Gateway extends AsyncDisposable {
  /** host:port as bound. */
  readonly address: string;
  /** Origin of the edge, e.g. "https://127.0.0.1:5001". */
  readonly url: string;
  readonly checks: readonly HealthCheck[];
}

/** Registers SiteService and serves the OCI API. @throws Error one line, when the address cannot be bound. */
export async function startGateway(config: GatewayConfig, deps: GatewayDeps): Promise<Gateway> {
  await using opened = new AsyncDisposableStack();
  const { clock, timers, log, catalog } = deps;
  const watch = opened.use(createNodeWatch(deps));
  const copies = (): number => config.copies ?? (Math.min(2, watch.keepers().length) || 1);
  let boundTo = `${config.host}:${config.port}`;

  const clients = createClientOrigin({ trustedProxies: config.trustedProxies, fallbackHost: () => boundTo });
  const counting = { limits: config.limits, store: deps.limits ?? createLocalStore({ clock }), clients, clock, timers };
  const requestLimits = createRequestLimits(counting);
  const uploadLimit = createUploadLimit(counting);
  const access = createAccess({
    ...config,
    ...deps,
    requestLimits,
    cluster: deps.topology.cluster,
    site: deps.topology.site,
    clients,
  });
  const answers = opened.use(createAnswerHeaders({ ...deps, maxStalenessMs: config.maxStalenessMs }));
  const lookup = createLookup(deps);
  const find = createFindContent({ catalog, lookup });
  const sources = createBlobSources({ ...deps, watch, lookup, copies, transientWaitMs: config.transientWaitMs });
  const nodes = createUploadNodes(deps);
  const uploads = new MirroredUploads({ nodes, clock, timers, log });
  const keeper = createCopyKeeper({ ...deps, watch, nodes, uploads, copies, degraded: config.degraded });
  const commit = createCommitRecords({ ...deps, transientWaitMs: config.transientWaitMs });
  const push = createBlobPush({ ...deps, keeper, commit });
  const release = createReleasePins(deps);
  const manifests = createManifestBytes({ ...config, sources, maxBytes: config.manifestCacheBytes });
  const images = createImageStates(deps);
  const receipts = createReceipts({ ...deps, images });
  const interest = createPullInterest(deps);
  const members = deps.members ?? fixedMembers(deps.topology);
  const durability = createDurability({ ...config, ...deps, members, receipts, interest });
  const proxy = opened.use(createSiteProxy({ peers: deps.peers, trust: deps.tls }));
  const tagHome = createTagHome({ ...deps, proxy, transientWaitMs: config.transientWaitMs });
  const passWritesOn = createPassWritesOn({ ...deps, members, proxy });
  const parts = {
    ...config,
    ...deps,
    members,
    lookup,
    tagHome,
    clients,
    requestLimits,
    uploadLimit,
    access,
    answers,
    find,
    sources,
    keeper,
    commit,
    push,
    release,
    manifests,
    receipts,
    interest,
    durability,
    uploads,
    watch,
    copies,
    proxy,
  };

  const routes: Readonly<Record<ResourceName, ResourceHandlers>> = {
    ping: pingRoute(parts),
    token: tokenRoute(parts),
    livez: livezRoute(),
    readyz: readyzRoute(parts),
    catalog: catalogRoute(parts),
    status: statusRoute(parts),
    scrub: scrubRoute(parts),
    collection: collectionRoute(parts),
    diff: diffRoute(parts),
    "log-restore": logRestoreRoute(parts),
    salvage: salvageRoute(parts),
    sites: sitesRoute(parts),
    site: siteRoute(parts),
    nodes: nodesRoute(parts),
    node: nodeRoute(parts),
    users: usersRoute(parts),
    user: userRoute(parts),
    grants: grantsRoute(parts),
    settings: settingsRoute(parts),
    "repository-settings": repositorySettingsRoute(parts),
    repository: passWritesOn(deleteRepositoryRoute(parts)),
    deleted: deletedRoute(parts),
    "tag-history": tagHistoryRoute(parts),
    "tag-restore": passWritesOn(restoreTagRoute(parts)),
    "manifest-restore": passWritesOn(restoreManifestRoute(parts)),
    tags: tagsRoute(parts),
    manifest: passWritesOn({
      GET: pullManifest(parts),
      PUT: pushManifest(parts),
      DELETE: deleteManifest(parts),
    }),
    blob: passWritesOn(blobRoutes(parts)),
    uploads: passWritesOn({ POST: startUpload(parts) }),
    upload: untilClosed(uploadRoutes(parts), { ...deps, members }),
    referrers: referrersRoute(parts),
    replication: replicationRoute(parts),
    "replication-progress": replicationProgressRoute(parts),
    route: routeRoute(parts),
  };

  const isReady = (): boolean => catalog.ready && members.refusal === undefined;
  const readiness = createReadiness({ isReady, waitMs: config.transientWaitMs, clock, timers });
  const dispatch = createDispatch({
    ...config,
    ...deps,
    requestLimits,
    routes,
    readiness,
    members,
    answers,
    site: deps.topology.site,
  });
  deps.rpc.register(collectionV1.ConfirmService, createConfirmService({ ...deps, manifests }), {
    allow: ({ site, service }, method) => {
      const asker = method === "confirm" ? "replicator" : "gateway";
      const isNear = method === "confirmHere" ? site === deps.topology.site : deps.topology.sites.includes(site);
      return isNear && (service === asker || service === "site");
    },
  });
  const isMember = ({ site }: { readonly site: string }): boolean => deps.topology.sites.includes(site);
  deps.rpc.register(siteV1.TagHomeService, tagHome.service, { allow: isMember });
  deps.rpc.register(siteV1.SiteService, createSiteService({ ...deps, images }), { allow: isMember });
  const { bodyIdleMs: idleMs, answerIdleMs, discardMs } = config;
  const limits = { idleMs, answerIdleMs, discardMs, timers };
  const edge = opened.use(
    await startEdgeServer({ ...config, tls: deps.tls, limits, handle: dispatch.handle, clock, timers, log }),
  );
  boundTo = isIPv6(edge.host) ? `[${edge.host}]:${edge.port}` : `${edge.host}:${edge.port}`;
  if (config.anonymous !== "none")
    log.warn("the gateway serves requests without a login", { anonymous: config.anonymous });

  const owned = opened.move();
  return {
    address: boundTo,
    url: `${deps.tls === undefined ? "http" : "https"}://${boundTo}`,
    checks: [catalogCheck(catalog), membershipCheck(members)],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function membershipCheck(members: SiteMembers): HealthCheck {
  return {
    name: "membership",
    async check() {
      if (members.refusal !== undefined) throw new Error(members.refusal);
    },
  };
}

function catalogCheck(catalog: Catalog): HealthCheck {
  return {
    name: "catalog",
    async check() {
      if (!catalog.ready)
        throw new Error("the catalog's view is behind the log, or not listed by the site's other gateways");
    },
  };
}
