/** What a client is to be told of the cluster. */
export interface ClientSites {
  /** The registry's name in image references: host or host:port. */
  readonly name: string;
  /** Origins of gateways in the order in which the client is to try them; at least one. */
  readonly origins: readonly string[];
  /** The authority that signed the gateways' certificates, PEM; absent: one that the system trusts. */
  readonly ca?: string;
}

/** A file of a client's configuration. */
export interface ClientFile {
  /** Below the client's own folder. */
  readonly path: string;
  readonly text: string;
}

/** The clients that can be configured. */
export const clients = ["docker", "containerd", "podman"] as const;
export type ClientName = (typeof clients)[number];

/** Where the client looks for such files when its own configuration names no other folder. */
export const defaultFolder: Readonly<Record<ClientName, string>> = {
  docker: "/etc/docker",
  containerd: "/etc/containerd/certs.d",
  podman: "/etc/containers",
};

/** The files that bring a client trust and, where it knows of such a thing, the sites in order. `folder` is absolute. */
export function clientFiles(client: ClientName, sites: ClientSites, folder: string): ClientFile[] {
  if (client === "containerd") return containerdFiles(sites, folder);
  return client === "podman" ? podmanFiles(sites) : certificates(sites);
}

/**
 * containerd asks the hosts of a `hosts.toml` in order, then the server (its docs/hosts.md). Each names the authority:
 * where one does not, "signed by unknown authority" hides what the others said.
 */
function containerdFiles({ name, origins, ca }: ClientSites, folder: string): ClientFile[] {
  const trust = ca === undefined ? "" : `ca = ${quoted(`${folder}/${name}/ca.crt`)}\n`;
  const host = (origin: string): string =>
    `\n[host.${quoted(origin)}]\ncapabilities = ["pull", "resolve", "push"]\n${trust}`;
  const text = `server = ${quoted(origins.at(-1) ?? "")}\n${trust}${origins.map(host).join("")}`;
  return [{ path: `${name}/hosts.toml`, text }, ...(ca === undefined ? [] : [{ path: `${name}/ca.crt`, text: ca }])];
}

/**
 * Mirrors are asked in order before the location, which pushes go to (containers-registries.conf(5)). The location is
 * the registry's own name when that is a gateway, else the nearest site.
 */
function podmanFiles(sites: ClientSites): ClientFile[] {
  const registries = sites.origins.map(registryOf);
  const location = registries.includes(sites.name) ? sites.name : (registries[0] ?? sites.name);
  // A location that stands first is asked first as a mirror too, or the others would come before it.
  const mirrors = registries.map((registry) => `\n[[registry.mirror]]\nlocation = ${quoted(registry)}\n`);
  const text = `[[registry]]\nprefix = ${quoted(sites.name)}\nlocation = ${quoted(location)}\n${mirrors.join("")}`;
  return [{ path: "registries.conf.d/meridian.conf", text }, ...certificates(sites)];
}

/** docker knows mirrors for Docker Hub only: trust is all that can be written down for it. */
function certificates({ name, origins, ca }: ClientSites): ClientFile[] {
  if (ca === undefined) return [];
  const registries = new Set([name, ...origins.map(registryOf)]);
  return [...registries].map((registry) => ({ path: `certs.d/${registry}/ca.crt`, text: ca }));
}

/** host:port, as references name it. */
export function registryOf(origin: string): string {
  return new URL(origin).host;
}

/** A basic string of TOML. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
