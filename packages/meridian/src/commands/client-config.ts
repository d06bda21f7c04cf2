import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { clusterSites, type SiteStatus, siteNamed } from "../client/cluster-sites.ts";
import { openRegistry } from "../client/registry-client.ts";
import {
  type ClientFile,
  type ClientName,
  clientFiles,
  defaultFolder,
  registryOf,
} from "../client-config/client-files.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";

export async function runClientConfig(
  client: ClientName,
  options: ServerOptions & { name?: string; sites?: string; out?: string },
): Promise<void> {
  const registry = openRegistry(options);
  const origins = originsOf(await clusterSites(registry), options.sites);
  const name = options.name ?? registryOf(origins[0] ?? registry.server);
  if (!/^[a-z0-9[\]:.-]+$/i.test(name)) throw usageError(`--name ${name}: a host, or host:port, is wanted`);
  const folder = options.out === undefined ? defaultFolder[client] : resolve(options.out);
  const files = clientFiles(client, { name, origins, ...(registry.ca !== undefined && { ca: registry.ca }) }, folder);
  if (options.out !== undefined) for (const file of files) write(folder, file);
  if (options.json) process.stdout.write(`${JSON.stringify({ client, name, folder, origins, files })}\n`);
  else if (options.out === undefined) process.stdout.write(files.map((file) => shown(folder, file)).join("\n"));
  else process.stdout.write(files.map(({ path }) => `${join(folder, path)}\n`).join(""));
  for (const advice of adviceFor(client, name, origins)) process.stderr.write(`${advice}\n`);
}

/** Every gateway of the sites: in the order asked for, else the nearest to the answering gateway first. */
function originsOf(sites: readonly SiteStatus[], wanted: string | undefined): string[] {
  const distance = ({ rttMs }: SiteStatus): number => rttMs ?? Number.POSITIVE_INFINITY;
  const ordered =
    wanted === undefined
      ? sites.toSorted((a, b) => distance(a) - distance(b))
      : wanted.split(",").map((name) => siteNamed(sites, name.trim(), "--sites"));
  const origins = ordered.flatMap(({ gateways }) => gateways);
  if (origins.length === 0) throw failure("the cluster's table names no address of a gateway (`edge`)");
  return origins;
}

function write(folder: string, { path, text }: ClientFile): void {
  const target = join(folder, path);
  try {
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  } catch (cause) {
    throw usageError(`${target} cannot be written (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

function shown(folder: string, { path, text }: ClientFile): string {
  return `# ${join(folder, path)}\n${text}`;
}

function adviceFor(client: ClientName, name: string, origins: readonly string[]): string[] {
  if (client === "docker")
    return [
      `docker has no mirrors but for Docker Hub: it asks the registry that a reference names. Log in at each that you name: docker login ${registryOf(origins[0] ?? name)}`,
    ];
  if (client === "containerd")
    return [`containerd reads this where its registry config_path, or ctr's --hosts-dir, names the folder.`];
  return [...new Set([name, ...origins.map(registryOf)])].map((registry) => `log in once: podman login ${registry}`);
}
