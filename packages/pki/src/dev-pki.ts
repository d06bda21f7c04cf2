import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import { ContentError } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";
import type { AuthorityName, KeyAndCertificate, LeafUse } from "./issue-certificate.ts";
import { readIfPresent, replaceFile } from "./key-file.ts";
import { assertName, formatPeerUri } from "./peer-uri.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** Certificates begin a day before they are made, so that a machine whose clock is behind accepts them. */
const BACKDATE_MS = DAY_MS;
const AUTHORITY_LIFE_MS = 3650 * DAY_MS;
const LEAF_LIFE_MS = 397 * DAY_MS;
const AUTHORITY_RENEWAL_MS = 425 * DAY_MS;
const LEAF_RENEWAL_MS = 30 * DAY_MS;
const LOOPBACK_NAMES = ["localhost", "127.0.0.1", "::1"] as const;

/** A site that needs certificates. */
export interface DevPkiSite {
  readonly name: string;
  readonly processes: ReadonlyArray<{ readonly process: string; readonly service: string }>;
  /** DNS names and IP addresses that clients reach its gateways by; loopback when absent. */
  readonly edgeNames?: readonly string[];
}

/** What {@link ensureDevPki} needs. */
export interface DevPkiOptions {
  /** Made when missing, mode 0700. */
  readonly dir: string;
  readonly trustDomain: string;
  readonly sites: readonly DevPkiSite[];
  readonly clock: Clock;
  /** DNS names and IP addresses of every process certificate; loopback when absent. */
  readonly peerNames?: readonly string[];
}

/** Paths of one certificate: the private key (mode 0600) and the chain, leaf first. */
export interface CertificateFiles {
  readonly key: string;
  readonly cert: string;
}

/** Where everything lies. */
export interface DevPki {
  /** The trust bundle, for peers and clients. */
  readonly ca: string;
  readonly sites: Readonly<
    Record<string, { readonly edge: CertificateFiles; readonly processes: Readonly<Record<string, CertificateFiles>> }>
  >;
  /** How many certificates were issued by this call; 0 when all were there and good. */
  readonly issued: number;
}

/**
 * Makes or completes the certificates of a development cluster. What is there and good stays; only what is missing, near
 * its end or no longer fitting is issued, so it may be called at every start and with more sites than before.
 * ```
 * <dir>/ca.pem, ca.key                       the root: trust bundle, and its key (0600)
 * <dir>/<site>/ca.pem, ca.key                the site's intermediate
 * <dir>/<site>/<process>.pem, <process>.key  leaf + intermediate; URI spiffe://<trust>/site/<site>/<service>
 * <dir>/<site>/edge.pem, edge.key            leaf + intermediate; names for clients, no URI
 * ```
 * Throws ContentError `invalid` for names that cannot be part of a path or URI.
 */
export async function ensureDevPki(options: DevPkiOptions): Promise<DevPki> {
  const { dir, trustDomain, sites } = options;
  const tally = { issued: 0 };
  const session = { options, tally };
  assertNames(sites);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const root = await ensureAuthority(session, join(dir, "ca"), { trustDomain, commonName: "Meridian root" });
  const paths: Record<string, DevPki["sites"][string]> = {};
  for (const site of sites) paths[site.name] = await ensureSite(session, site, root);
  return { ca: join(dir, "ca.pem"), sites: paths, issued: tally.issued };
}

interface Session {
  readonly options: DevPkiOptions;
  readonly tally: { issued: number };
}

async function ensureSite(
  session: Session,
  site: DevPkiSite,
  root: KeyAndCertificate,
): Promise<DevPki["sites"][string]> {
  const { trustDomain, dir, peerNames = LOOPBACK_NAMES } = session.options;
  const folder = join(dir, site.name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const name = { trustDomain, site: site.name, commonName: `Meridian site ${site.name}` };
  const authority = await ensureAuthority(session, join(folder, "ca"), name, root);
  const processes: Record<string, CertificateFiles> = {};
  for (const { process, service } of site.processes) {
    const uri = formatPeerUri({ trustDomain, site: site.name, service });
    const leaf = { commonName: `${site.name}/${process}`, use: "peer", uri, names: peerNames } as const;
    processes[process] = await ensureLeaf(session, join(folder, process), leaf, authority);
  }
  const edge = { commonName: `${site.name} edge`, use: "edge", names: site.edgeNames ?? LOOPBACK_NAMES } as const;
  return { edge: await ensureLeaf(session, join(folder, "edge"), edge, authority), processes };
}

/** The authority at `<path>.pem` and `<path>.key`; renewed with the same key, so that what it issued stays good. */
async function ensureAuthority(
  session: Session,
  path: string,
  name: AuthorityName,
  issuer?: KeyAndCertificate,
): Promise<KeyAndCertificate> {
  const { clock } = session.options;
  const [key, cert] = await Promise.all([readIfPresent(`${path}.key`), readIfPresent(`${path}.pem`)]);
  if (key !== undefined && cert !== undefined) {
    const parsed = parseFitting(key, cert);
    const signer = issuer === undefined ? parsed : new X509Certificate(issuer.cert);
    const good =
      parsed?.ca === true &&
      isSignedBy(parsed, signer) &&
      parsed.subject === subjectOf(name) &&
      outlasts(parsed, clock, AUTHORITY_RENEWAL_MS);
    if (good) return { key, cert };
  }
  const { issueIntermediate, issueRoot } = await import("./issue-certificate.ts");
  const term = { name, key: isUsableKey(key) ? key : undefined, ...validity(clock, AUTHORITY_LIFE_MS) };
  const made = issuer === undefined ? await issueRoot(term) : await issueIntermediate({ ...term, issuer });
  await save(session, path, made);
  return made;
}

interface LeafWanted {
  readonly commonName: string;
  readonly use: LeafUse;
  readonly uri?: string;
  readonly names: readonly string[];
}

async function ensureLeaf(
  session: Session,
  path: string,
  wanted: LeafWanted,
  issuer: KeyAndCertificate,
): Promise<CertificateFiles> {
  const { clock } = session.options;
  const files = { key: `${path}.key`, cert: `${path}.pem` };
  const [key, chain] = await Promise.all([readIfPresent(files.key), readIfPresent(files.cert)]);
  if (key !== undefined && chain !== undefined) {
    const leaf = parseFitting(key, chain);
    const good =
      leaf !== undefined &&
      chain.endsWith(issuer.cert) &&
      isSignedBy(leaf, new X509Certificate(issuer.cert)) &&
      hasNames(leaf, wanted) &&
      outlasts(leaf, clock, LEAF_RENEWAL_MS);
    if (good) return files;
  }
  const { issueLeaf } = await import("./issue-certificate.ts");
  const made = await issueLeaf({ ...wanted, issuer, ...validity(clock, LEAF_LIFE_MS) });
  await save(session, path, { key: made.key, cert: made.cert + issuer.cert });
  return files;
}

async function save({ tally }: Session, path: string, { key, cert }: KeyAndCertificate): Promise<void> {
  // The key first: a crash between the two leaves a pair that does not fit, which the next start replaces.
  await replaceFile(`${path}.key`, key, 0o600);
  await replaceFile(`${path}.pem`, cert, 0o644);
  tally.issued += 1;
}

/** The first certificate of `cert`, when it parses and `key` is its key. */
function parseFitting(key: string, cert: string): X509Certificate | undefined {
  try {
    const parsed = new X509Certificate(cert);
    return parsed.checkPrivateKey(createPrivateKey(key)) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function isUsableKey(key: string | undefined): boolean {
  if (key === undefined) return false;
  try {
    return createPrivateKey(key).asymmetricKeyDetails?.namedCurve === "prime256v1";
  } catch {
    return false;
  }
}

function isSignedBy(certificate: X509Certificate, issuer: X509Certificate | undefined): boolean {
  return issuer !== undefined && certificate.issuer === issuer.subject && certificate.verify(issuer.publicKey);
}

function outlasts(certificate: X509Certificate, clock: Clock, leastMs: number): boolean {
  const now = clock.now();
  return certificate.validFromDate.getTime() <= now && certificate.validToDate.getTime() >= now + leastMs;
}

function hasNames(leaf: X509Certificate, { uri, names }: LeafWanted): boolean {
  const found = (leaf.subjectAltName ?? "").split(", ").filter((name) => name !== "");
  const uris = found.filter((name) => name.startsWith("URI:")).map((name) => name.slice(4));
  const hasAll = names.every((name) =>
    isIP(name) === 0 ? found.includes(`DNS:${name}`) : leaf.checkIP(name) !== undefined,
  );
  return hasAll && found.length === names.length + uris.length && uris.join() === (uri ?? "");
}

function subjectOf({ trustDomain, site, commonName }: AuthorityName): string {
  return [`O=${trustDomain}`, ...(site === undefined ? [] : [`OU=${site}`]), `CN=${commonName}`].join("\n");
}

function validity(clock: Clock, lifeMs: number): { notBefore: Date; notAfter: Date } {
  const now = clock.now();
  return { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + lifeMs - BACKDATE_MS) };
}

function assertNames(sites: readonly DevPkiSite[]): void {
  for (const { name, processes } of sites) {
    assertName(name);
    for (const { process } of processes) {
      assertName(process);
      if (process === "ca" || process === "edge")
        throw new ContentError("invalid", `no process may be named "${process}"`);
    }
  }
}
