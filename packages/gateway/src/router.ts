import { detached } from "./request-head.ts";

/** What a path names. */
export type ResourceName =
  | "ping"
  | "token"
  | "livez"
  | "readyz"
  | "catalog"
  | "status"
  | "scrub"
  | "collection"
  | "diff"
  | "log-restore"
  | "salvage"
  | "sites"
  | "site"
  | "nodes"
  | "node"
  | "users"
  | "user"
  | "grants"
  | "settings"
  | "repository-settings"
  | "repository"
  | "deleted"
  | "tag-history"
  | "tag-restore"
  | "manifest-restore"
  | "tags"
  | "manifest"
  | "blob"
  | "uploads"
  | "upload"
  | "referrers"
  | "replication"
  | "replication-progress"
  | "route";

/** A path taken apart: see {@link matchPath}. */
export interface Match {
  readonly resource: ResourceName;
  /** The repository's name as written, not checked yet; empty for resources of the registry itself. */
  readonly name: string;
  /** Tag, digest or upload session as written, not checked yet; empty when the resource has none. */
  readonly reference: string;
}

const TOP: ReadonlyMap<string, Match> = new Map([
  ["/v2/", top("ping")],
  ["/v2", top("ping")],
  ["/token", top("token")],
  ["/livez", top("livez")],
  ["/readyz", top("readyz")],
  ["/v2/_catalog", top("catalog")],
  ["/v2/_meridian/status", top("status")],
  ["/v2/_meridian/replication", top("replication-progress")],
  ["/v2/_meridian/scrub", top("scrub")],
  ["/v2/_meridian/collection", top("collection")],
  ["/v2/_meridian/diff", top("diff")],
  ["/v2/_meridian/log-restore", top("log-restore")],
  ["/v2/_meridian/sites", top("sites")],
  ["/v2/_meridian/salvage", top("salvage")],
  ["/v2/_meridian/users", top("users")],
  ["/v2/_meridian/grants", top("grants")],
  ["/v2/_meridian/settings", top("settings")],
]);

function top(resource: ResourceName): Match {
  return { resource, name: "", reference: "" };
}

const MAX_PATH = 8 * 1024;

/**
 * Finds the resource that a path names (OCI distribution-spec, "Endpoints"). Repository names hold slashes and may hold
 * the words "manifests" or "blobs", so a path is read from its end. Percent-encoded characters are decoded inside a
 * segment; an encoded slash never becomes a separator.
 * Undefined when there is no such resource, the path is longer than 8 KiB, or its encoding is broken.
 */
export function matchPath(path: string): Match | undefined {
  if (path.length > MAX_PATH) return undefined;
  const known = TOP.get(path);
  if (known !== undefined) return known;
  if (!path.startsWith("/v2/")) return undefined;
  const last = path.lastIndexOf("/");
  const previous = path.lastIndexOf("/", last - 1);
  if (previous < 3) return undefined;
  return matchTail(path, previous, last);
}

/** Paths that were asked for lately; each costs some hundred bytes. */
const REMEMBERED_PATHS = 4_096;
const MAX_REMEMBERED_LENGTH = 512;

/** {@link matchPath} that remembers what it found: the same few paths are most of what is asked for. */
export function createPathMatcher(): typeof matchPath {
  const known = new Map<string, Match>();
  return (path) => {
    const before = known.get(path);
    if (before !== undefined) return before;
    if (path.length > MAX_REMEMBERED_LENGTH) return matchPath(path);
    const own = detached(path);
    const match = matchPath(own);
    if (match === undefined) return undefined;
    if (known.size >= REMEMBERED_PATHS) known.clear();
    known.set(own, match);
    return match;
  };
}

/** `/v2/<name>/<word>/<reference>`, or `/v2/<name>/blobs/uploads[/<session>]`. */
function matchTail(path: string, previous: number, last: number): Match | undefined {
  const reference = path.slice(last + 1);
  // First: the tag between may be called as any of the words below.
  const version = reference === "history" || reference === "restore" ? matchVersion(path, previous, last) : undefined;
  if (version !== undefined) return version;
  switch (path.slice(previous + 1, last)) {
    case "manifests":
      return found("manifest", path, previous, reference);
    case "blobs":
      return reference === "uploads" ? found("uploads", path, previous, "") : found("blob", path, previous, reference);
    case "tags":
      return reference === "list" ? found("tags", path, previous, "") : undefined;
    case "referrers":
      return found("referrers", path, previous, reference);
    case "uploads":
      return matchUpload(path, previous, reference);
    case "users":
      return matchUser(path, last);
    case "_meridian":
      return matchOfRepository(path, previous, reference);
    case "replication":
      return matchMeridian("replication", path, previous, reference);
    case "route":
      return matchMeridian("route", path, previous, reference);
    case "sites":
      return path.startsWith(SITES) ? { resource: "site", name: "", reference } : undefined;
    default:
      return matchNode(path);
  }
}

const SITES = "/v2/_meridian/sites/";

const NODES = "/v2/_meridian/nodes/";

/** `/v2/_meridian/nodes/<site>[/<node>]`: neither name holds what would have to be encoded. */
function matchNode(path: string): Match | undefined {
  if (!path.startsWith(NODES)) return undefined;
  const [site, node, ...more] = path.slice(NODES.length).split("/");
  if (site === undefined || site === "" || more.length > 0 || node === "") return undefined;
  return node === undefined
    ? { resource: "nodes", name: "", reference: site }
    : { resource: "node", name: "", reference: `${site}/${node}` };
}

function matchUpload(path: string, previous: number, session: string): Match | undefined {
  const before = path.lastIndexOf("/", previous - 1);
  if (path.slice(before + 1, previous) !== "blobs") return undefined;
  return found(session === "" ? "uploads" : "upload", path, before, session);
}

const USERS = "/v2/_meridian/users/";

function matchUser(path: string, last: number): Match | undefined {
  const name = path.slice(0, last + 1) === USERS ? decodePath(path.slice(last + 1)) : undefined;
  return name === undefined || name === "" ? undefined : { resource: "user", name: "", reference: name };
}

/** `/v2/<name>/_meridian/<word>`. */
function matchOfRepository(path: string, previous: number, word: string): Match | undefined {
  switch (word) {
    case "settings":
      return found("repository-settings", path, previous, "");
    case "replication":
      return found("replication-progress", path, previous, "");
    case "repository":
    case "deleted":
      return found(word, path, previous, "");
    default:
      return undefined;
  }
}

function matchMeridian(resource: ResourceName, path: string, previous: number, reference: string): Match | undefined {
  const before = path.lastIndexOf("/", previous - 1);
  return path.slice(before + 1, previous) === "_meridian" ? found(resource, path, before, reference) : undefined;
}

/** `/v2/<name>/_meridian/tags/<tag>/history|restore` and `/v2/<name>/_meridian/manifests/<digest>/restore`. */
function matchVersion(path: string, previous: number, last: number): Match | undefined {
  const kindStart = path.lastIndexOf("/", previous - 1);
  const nameEnd = path.lastIndexOf("/", kindStart - 1);
  if (nameEnd < 0 || path.slice(nameEnd + 1, kindStart) !== "_meridian") return undefined;
  const reference = path.slice(previous + 1, last);
  if (reference === "") return undefined;
  switch (path.slice(kindStart + 1, previous) + path.slice(last)) {
    case "tags/history":
      return found("tag-history", path, nameEnd, reference);
    case "tags/restore":
      return found("tag-restore", path, nameEnd, reference);
    case "manifests/restore":
      return found("manifest-restore", path, nameEnd, reference);
    default:
      return undefined;
  }
}

function found(resource: ResourceName, path: string, nameEnd: number, reference: string): Match | undefined {
  if (nameEnd <= 4) return undefined;
  const name = path.slice(4, nameEnd);
  if (!path.includes("%")) return { resource, name, reference };
  const decodedName = decodePath(name);
  const decodedReference = decodePath(reference);
  if (decodedName === undefined || decodedReference === undefined) return undefined;
  return { resource, name: decodedName, reference: decodedReference };
}

/** Decodes each segment; undefined when the encoding is broken or hides a slash. */
function decodePath(text: string): string | undefined {
  if (/%2f/i.test(text)) return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
