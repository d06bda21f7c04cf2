import { authConfigSchema } from "@meridian/auth";
import { blobNodeConfigSchema } from "@meridian/blob-node";
import { linksSchema, topologySchema } from "@meridian/cluster";
import { gatewayConfigSchema } from "@meridian/gateway";
import { limitsConfigSchema, redisConfigSchema } from "@meridian/limits";
import { collectionConfigSchema, replicatorConfigSchema } from "@meridian/replicator";
import { z } from "zod";
import { storageSchema } from "./storage-config.ts";

const port = z.int().min(1).max(65_535);
const path = z.string().min(1);

/** The log server of the site. */
const logSchema = z.discriminatedUnion("driver", [
  /** One LMDB file in the data folder: for a site that runs as one process. */
  z.strictObject({ driver: z.literal("embedded") }),
  z.strictObject({
    driver: z.literal("nats"),
    /** host:port of the site's nats-servers. */
    servers: z.array(z.string().min(3)).nonempty(),
    /** NATS user; its password is `natsPassword` in the secrets file. Absent: no login. */
    user: z.string().optional(),
    /** TLS to the servers: the CA of their certificates, and this process's own where they ask for one; PEM files. Absent: no TLS. */
    tls: z
      .strictObject({ ca: path, cert: path.optional(), key: path.optional() })
      .refine(({ cert, key }) => (cert === undefined) === (key === undefined), "cert and key belong together")
      .optional(),
    /** Replicas of each stream inside the site: 1, or 3 with a cluster of three or more servers. Default 1. */
    replicas: z.union([z.literal(1), z.literal(3), z.literal(5)]).default(1),
    /** True when the servers fsync before they acknowledge (`sync_interval: always`, or replicas 3). Default false: entries stay in the outbox for three minutes. */
    durableAcks: z.boolean().default(false),
  }),
]);

/** The configuration of one process (`meridian serve --config`). Unknown keys are refused; every problem is listed. */
export const siteConfigSchema = z
  .strictObject({
    /** Format of this file; 1. */
    format: z.literal(1),
    /** The cluster, the same in every process but for `site` and `process`. */
    topology: topologySchema,
    /** Folder for everything that this process keeps. */
    dataDir: path,
    /** Where the process's internal listeners bind. */
    listen: z.strictObject({
      host: z.string().default("127.0.0.1"),
      /** gRPC (mTLS): control, log tail. */
      grpcPort: port,
      /** HTTPS (mTLS): bytes; with the blob-node role only. */
      bytesPort: port.optional(),
      /** Plain HTTP: /livez, /readyz, /metrics. Keep it on loopback or behind a firewall. */
      adminPort: port,
      /** Where the admin listener binds. Default: loopback. */
      adminHost: z.string().default("127.0.0.1"),
    }),
    /** PEM files of this process's certificate (leaf first), its key, and the cluster's trust bundle. */
    tls: z.strictObject({ ca: path, key: path, cert: path }),
    /** YAML file, mode 0600, with what the site keeps to itself; see `secretsSchema`. */
    secretsFile: path,
    log: logSchema,
    /** What a client may do without login: `none`, `pull`, or `admin` (a dev cluster on loopback only). The same in every process of a site. */
    anonymous: z.enum(["none", "pull", "admin"]).default("none"),
    /**
     * True takes manifests whose config, layers or children the repository does not have (sparse indexes). Default
     * false: 400 MANIFEST_BLOB_UNKNOWN. The same in every process of every site.
     */
    sparse: z.boolean().default(false),
    /** How long the history of each tag is kept. The same in every process of every site. */
    history: z
      .strictObject({
        /** Days. Default 90. */
        maxAgeDays: z.int().min(1).max(3_650).default(90),
        /** Writes of each tag. Default 100. */
        maxWrites: z.int().min(1).max(1_000).default(100),
      })
      .prefault({}),
    /** The Redis that this site's processes share their limits by. Absent: each keeps them alone. */
    redis: redisConfigSchema.optional(),
    /** How much one client may do. The same in every process of a site. */
    limits: limitsConfigSchema.prefault({}),
    /** Required with the gateway role. */
    gateway: gatewayConfigSchema.omit({ anonymous: true, sparse: true, limits: true }).optional(),
    storage: storageSchema,
    /** Rates and windows of the links from other sites, by their names; docs/replication.md. The same in every process of a site. */
    links: linksSchema.default({}),
    blobNode: blobNodeConfigSchema.omit({ bytes: true, links: true }).prefault({}),
    replicator: replicatorConfigSchema.omit({ links: true }).prefault({}),
    collection: collectionConfigSchema.prefault({}),
    auth: authConfigSchema.omit({ cluster: true, dataDir: true }).prefault({}),
    telemetry: z
      .strictObject({
        /** OTLP/HTTP endpoint, e.g. http://collector:4318. Absent: no traces are exported. */
        otlpUrl: z.url().optional(),
        /** Share of requests whose trace is kept, 0 to 1. Default 0.01. */
        sampleRatio: z.number().min(0).max(1).default(0.01),
      })
      .prefault({}),
    logLevel: z.enum(["debug", "info", "warn", "error"]).default("info"),
    /** Longest time that a stopping process waits for what it is doing, in milliseconds. Default 10 000. */
    drainTimeoutMs: z.int().min(0).default(10_000),
    /** Stop when standard input closes: set by the dev supervisor. */
    supervised: z.boolean().default(false),
    /** Fault commands on `faultSocket`: set by the dev supervisor, never in production. */
    faults: z.boolean().default(false),
    faultSocket: path.optional(),
  })
  .check(({ value, issues }) => {
    const own = value.topology.processes.find(
      (one) => one.site === value.topology.site && one.process === value.topology.process,
    );
    const problem = (where: string[], message: string): void =>
      void issues.push({ code: "custom", input: value, path: where, message });
    if (own?.roles.includes("gateway") && value.gateway === undefined)
      problem(["gateway"], "the gateway role needs this section");
    if (own?.roles.includes("blob-node") && value.listen.bytesPort === undefined)
      problem(["listen", "bytesPort"], "the blob-node role needs it");
    if (value.faults && value.faultSocket === undefined) problem(["faultSocket"], "faults: true needs it");
  });
export type SiteConfig = z.infer<typeof siteConfigSchema>;

/** What the processes of one site keep to themselves; the same file for all of them. */
export const secretsSchema = z.strictObject({
  /** Signs upload locations: 32 random bytes, base64 (`openssl rand -base64 32`). */
  uploadKey: z
    .base64()
    .transform((text) => new Uint8Array(Buffer.from(text, "base64")))
    .refine((key) => key.byteLength >= 32, "must be at least 32 bytes: openssl rand -base64 32"),
  natsPassword: z.string().optional(),
  redisPassword: z.string().optional(),
});
export type SiteSecrets = z.infer<typeof secretsSchema>;
