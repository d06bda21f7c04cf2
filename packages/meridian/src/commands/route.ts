import { clusterSites, siteNamed } from "../client/cluster-sites.ts";
import { parseImage } from "../client/image-reference.ts";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { formatTable } from "./table.ts";

/** The answer of `/_meridian/route/<digest>`. */
interface Route {
  readonly digest: string;
  readonly site: string;
  /** site/node; null when nobody can serve it. */
  readonly chosen: string | null;
  readonly candidates: ReadonlyArray<{
    readonly site: string;
    readonly node: string;
    readonly state: string;
    readonly rttMs: number | null;
    readonly score: number;
    readonly excluded: boolean;
    readonly reasons: readonly string[];
  }>;
}

/** A manifest as far as its parts go (image-spec, manifest and index). */
interface Parts {
  readonly config?: { readonly digest: string };
  readonly layers?: ReadonlyArray<{ readonly digest: string }>;
  readonly manifests?: ReadonlyArray<{ readonly digest: string }>;
}

/** Parts beyond are left out, and said to be. */
const MAX_PARTS = 100;

export async function runRouteExplain(
  image: string,
  options: ServerOptions & { from?: string; without?: string },
): Promise<void> {
  const { registry, repository, reference } = parseImage(image);
  const asked = openRegistry(registry === undefined ? options : { ...options, server: options.server ?? registry });
  const client = options.from === undefined ? asked : await gatewayAt(asked, options.from);
  const manifest = await client.call(`/v2/${repository}/manifests/${reference}`);
  if (manifest.status !== 200) throw failure(`${client.server}: ${describeError(manifest)}`);
  const { config, layers = [], manifests = [] } = JSON.parse(manifest.text) as Parts;
  const own = String(manifest.headers["docker-content-digest"]);
  const parts = [own, ...[config ?? [], layers, manifests].flat().map(({ digest }) => digest)];
  const digests = [...new Set(parts)];
  const query = options.without === undefined ? "" : `?without=${encodeURIComponent(options.without)}`;
  const routes: Route[] = [];
  for (const digest of digests.slice(0, MAX_PARTS)) {
    const answer = await client.call(`/v2/${repository}/_meridian/route/${digest}${query}`);
    if (answer.status !== 200) throw failure(`${client.server}: ${digest}: ${describeError(answer)}`);
    routes.push(JSON.parse(answer.text) as Route);
  }
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ image: `${repository}:${reference}`, routes })}\n`
      : routes.map(shown).join("\n"),
  );
  if (digests.length > MAX_PARTS) process.stderr.write(`${digests.length - MAX_PARTS} more parts are left out\n`);
  const lost = routes.filter(({ chosen }) => chosen === null);
  if (lost.length > 0) throw failure(`nobody could serve ${lost.length} of ${routes.length} parts`);
}

async function gatewayAt(asked: RegistryClient, site: string): Promise<RegistryClient> {
  const [gateway] = siteNamed(await clusterSites(asked), site, "--from").gateways;
  if (gateway === undefined) throw failure(`the cluster's table names no gateway of ${site} (\`edge\`)`);
  return asked.at(gateway);
}

function shown({ digest, site, chosen, candidates }: Route): string {
  const rows = candidates.map((one) => [
    `${one.site}/${one.node}`,
    one.excluded ? "excluded" : `${one.site}/${one.node}` === chosen ? "chosen" : "next",
    one.state,
    one.rttMs === null ? "?" : `${one.rttMs.toFixed(1)} ms`,
    one.score.toFixed(1),
    one.reasons.join(", "),
  ]);
  const title = `${digest} at ${site}: ${chosen ?? "nobody"}\n`;
  return rows.length === 0 ? title : title + formatTable(["NODE", "", "STATE", "RTT", "SCORE", "WHY"], rows);
}
