import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type EventLogs, openEmbeddedLogs } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import { createTokenVerifier, openPolicy, type Policy, type PolicyTiming, type TokenClaims } from "@meridian/policy";
import { createRpcServer, type RpcServer, type ServiceClient } from "@meridian/rpc";
import { createLogger, createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import { authV1, policyV1 } from "@meridian/wire";
import { type AuthConfigInput, authConfigSchema } from "./config.ts";
import { hashPassword } from "./password.ts";
import { type Auth, startAuth } from "./service.ts";

export const SITES = ["eu", "us", "ap"] as const;
export const CLUSTER = "meridian-test";
export const ADMIN_PASSWORD = "correct horse battery";
export const clock = createSystemClock();
export const log = createLogger({ level: "error" });

const FAST: PolicyTiming = { heartbeatMs: 20, silentMs: 300, quorumWaitMs: 600, commitWaitMs: 4_000, retryMs: 40 };
const adminPasswordHash = await hashPassword(ADMIN_PASSWORD);

/** Resolves when the condition holds; fails after 8 s. */
export async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 8_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await pause(10);
  }
}

type TokenRequest = MessageInitShape<typeof authV1.IssueTokenRequestSchema>;

export interface RunningSite {
  readonly logs: EventLogs;
  readonly policy: Policy;
  readonly auth: Auth;
  readonly server: RpcServer;
  readonly client: ServiceClient<typeof authV1.AuthService>;
}

/** Three sites with their auth services, in one process. */
export class AuthCluster implements AsyncDisposable {
  readonly #folder: string;
  readonly #sites: readonly string[];
  readonly #running = new Map<string, RunningSite>();

  private constructor(folder: string, sites: readonly string[]) {
    this.#folder = folder;
    this.#sites = sites;
  }

  static async create(sites: readonly string[] = SITES): Promise<AuthCluster> {
    return new AuthCluster(await mkdtemp(join(tmpdir(), "meridian-auth-")), sites);
  }

  /** A cluster that is ready at all sites. */
  static async ready(sites: readonly string[] = SITES): Promise<AuthCluster> {
    const cluster = await AuthCluster.create(sites);
    await Promise.all(sites.map((site) => cluster.start(site)));
    for (const site of sites) await eventually(() => cluster.isReady(site), `${site} is ready`);
    return cluster;
  }

  dataDir(site: string): string {
    return join(this.#folder, site);
  }

  site(site: string): RunningSite {
    const running = this.#running.get(site);
    if (!running) throw new Error(`${site} does not run`);
    return running;
  }

  async start(site: string, config: Partial<AuthConfigInput> = {}): Promise<RunningSite> {
    const path = join(this.dataDir(site), "log");
    const common = { clock, timers: systemTimers, random: systemRandom, log };
    const logs = await openEmbeddedLogs({ ...common, path, site, writer: `${site}/site` });
    const policy = await openPolicy({
      ...common,
      site,
      sites: this.#sites,
      logs,
      policyHome: () => this.#policyHome(),
      role: "replica",
      maxStalenessMs: 30_000,
      maxPolicyAgeMs: 86_400_000,
      timing: FAST,
    });
    const server = createRpcServer({ log });
    const parsed = authConfigSchema.parse({
      cluster: CLUSTER,
      dataDir: this.dataDir(site),
      ...(site === this.#sites[0] ? { bootstrap: { adminPasswordHash } } : {}),
      ...config,
    });
    const auth = await startAuth(parsed, { ...common, policy, rpc: server });
    const running = { logs, policy, auth, server, client: server.local(authV1.AuthService)! };
    this.#running.set(site, running);
    return running;
  }

  async stop(site: string): Promise<void> {
    const { auth, policy, logs, server } = this.site(site);
    this.#running.delete(site);
    await server[Symbol.asyncDispose]();
    await auth[Symbol.asyncDispose]();
    await policy[Symbol.asyncDispose]();
    await logs[Symbol.asyncDispose]();
  }

  async obstacle(site: string): Promise<string | undefined> {
    try {
      await this.site(site).auth.checks[0]!.check(AbortSignal.timeout(1_000));
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  async isReady(site: string): Promise<boolean> {
    return (await this.obstacle(site)) === undefined;
  }

  issue(site: string, request: TokenRequest): Promise<authV1.IssueTokenResponse> {
    return this.site(site).client.issueToken({ service: CLUSTER, clientAddress: "192.0.2.1", ...request });
  }

  async login(site: string, username = "admin", password = ADMIN_PASSWORD, scopes: string[] = []): Promise<string> {
    return (await this.issue(site, { credentials: { username, password }, scopes })).token;
  }

  /** What a gateway of the site makes of a token. */
  verify(site: string, token: string): TokenClaims | undefined {
    using verifier = createTokenVerifier({ policy: this.site(site).policy, audience: CLUSTER, clock });
    return verifier.verify(token);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const site of [...this.#running.keys()]) await this.stop(site);
    await rm(this.#folder, { recursive: true });
  }

  #policyHome(): ServiceClient<typeof policyV1.PolicyLogService> {
    const home = this.#running.get(this.#sites[0]!);
    if (!home) throw new ContentError("unavailable", "connection refused");
    return home.server.local(policyV1.PolicyLogService)!;
  }
}
