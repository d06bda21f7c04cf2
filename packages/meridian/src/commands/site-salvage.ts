import { copyManifest, copyTag, type ImageCopy } from "../client/copy-image.ts";
import { describeError, openRegistry, originOf, type RegistryClient } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { runningCluster } from "../running-cluster.ts";
import type { ListedSite } from "./site.ts";
import { formatTable } from "./table.ts";

interface SalvageOptions extends ServerOptions {
  readonly from?: string;
  readonly put?: boolean;
  readonly overwrite?: boolean;
}

interface Put {
  readonly repository: string;
  readonly digest: string;
  readonly tag?: string;
}

/** What becomes of a put: `absent` and `other` are for the operator to decide about. */
type Outcome = "absent" | "there" | "other" | "put" | "kept" | "failed";

interface Salvaged extends Put {
  readonly outcome: Outcome;
  /** What the cluster's tag names instead. */
  readonly instead?: string;
  readonly bytes?: number;
  readonly reason?: string;
}

const HEADERS = { "meridian-salvage": "1" };
const TIMEOUT_MS = 30_000;
const WORDS: Readonly<Record<Outcome, string>> = {
  absent: "only there",
  there: "in the cluster",
  other: "the cluster's tag names another",
  put: "put again",
  kept: "left as the cluster has it",
  failed: "failed",
};

/** Lists what only a former member has; with --put, pushes it to the cluster as new writes. */
export async function runSiteSalvage(name: string, options: SalvageOptions): Promise<void> {
  const to = openRegistry(options);
  const from = to.at(options.from === undefined ? gatewayOf(name, options) : originOf(options.from));
  const { copied, membership } = await formerMember(to, name);
  const found: Salvaged[] = [];
  for await (const put of putsOf(from, copied)) {
    const one = await salvage(put, { from, to, headers: HEADERS, repository: put.repository }, options);
    if (!options.json && options.put === true)
      process.stderr.write(`${nameOf(one)}: ${one.reason ?? WORDS[one.outcome]}\n`);
    found.push(one);
  }
  const failed = found.filter(({ outcome }) => outcome === "failed");
  if (options.json) process.stdout.write(`${JSON.stringify({ site: name, membership, puts: found })}\n`);
  else process.stdout.write(describe(name, found, options));
  if (failed.length > 0) throw failure(`${failed.length} of ${found.length} could not be put again`);
}

function gatewayOf(name: string, options: SalvageOptions): string {
  const site = runningCluster(options).sites.find((one) => one.name === name);
  if (site?.state === "running") return site.gateway;
  throw usageError(`site ${name} does not run here: start it, or name its gateway with --from`);
}

async function formerMember(to: RegistryClient, name: string): Promise<ListedSite> {
  const answer = await to.call(`/v2/_meridian/sites/${name}`, { timeoutMs: TIMEOUT_MS });
  if (answer.status !== 200) throw failure(`${to.server}: ${describeError(answer)}`);
  const site = JSON.parse(answer.text) as ListedSite;
  if (site.membership === "removed" || site.membership === "expelled") return site;
  throw failure(`${name} is a member: the others copy what it has. Salvage is for a site that was expelled`);
}

/** What was put at the site and nobody had copied when it ceased to be a member. */
async function* putsOf(from: RegistryClient, copied: ListedSite["copied"]): AsyncGenerator<Put> {
  const incarnation = copied?.incarnation ?? "";
  for (let after: number | undefined = copied?.sequence ?? 0; after !== undefined; ) {
    const path: string = `/v2/_meridian/salvage?incarnation=${incarnation}&after=${after}`;
    const answer = await from.call(path, { timeoutMs: TIMEOUT_MS });
    if (answer.status !== 200) throw failure(`${from.server}: ${describeError(answer)}`);
    const page = JSON.parse(answer.text) as { puts: Put[]; next?: number };
    yield* page.puts;
    after = page.next;
  }
}

async function salvage(put: Put, copy: ImageCopy, options: SalvageOptions): Promise<Salvaged> {
  const known = await digestAt(copy.to, put.repository, put.tag ?? put.digest);
  if (known === put.digest) return { ...put, outcome: "there" };
  const instead = known === undefined ? {} : { instead: known };
  const outcome = known === undefined ? "absent" : "other";
  if (options.put !== true) return { ...put, ...instead, outcome };
  if (known !== undefined && options.overwrite !== true) return { ...put, ...instead, outcome: "kept" };
  try {
    const { bytes } = await copyManifest(put.digest, copy);
    const done = put.tag === undefined || (await copyTag(put.tag, put.digest, known, copy));
    return { ...put, ...instead, outcome: done ? "put" : "kept", bytes };
  } catch (error) {
    return { ...put, ...instead, outcome: "failed", reason: error instanceof Error ? error.message : String(error) };
  }
}

/** What a tag or digest names in the cluster; undefined for nothing. */
async function digestAt(to: RegistryClient, repository: string, reference: string): Promise<string | undefined> {
  const answer = await to.stream(`/v2/${repository}/manifests/${reference}`, { method: "HEAD" });
  answer.resume();
  if (answer.statusCode === 404) return undefined;
  const digest = answer.headers["docker-content-digest"];
  if (answer.statusCode === 200 && typeof digest === "string") return digest;
  throw failure(`${to.server}: ${repository}:${reference} is answered with ${answer.statusCode}`);
}

function nameOf({ repository, tag, digest }: Put): string {
  return tag === undefined ? `${repository}@${digest}` : `${repository}:${tag}`;
}

function describe(name: string, found: readonly Salvaged[], options: SalvageOptions): string {
  if (found.length === 0) return `the cluster has everything that was put at ${name}\n`;
  const rows = found.map((one) => [
    nameOf(one),
    one.tag === undefined ? "" : one.digest.slice(0, 19),
    WORDS[one.outcome],
    one.reason ?? (one.instead === undefined ? "" : one.instead.slice(0, 19)),
  ]);
  const table = formatTable(["PUT", "DIGEST", "", ""], rows);
  const open = found.filter(({ outcome }) => outcome === "absent" || outcome === "other").length;
  if (open === 0 || options.put === true) return table;
  return `${table}\n${open} of them are not in the cluster. It may have deleted them meanwhile: --put pushes those that are absent as new writes, --overwrite also moves its tags\n`;
}
