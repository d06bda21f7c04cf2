import { X509Certificate } from "node:crypto";
import { ContentError } from "@meridian/oci";
import { type Clock, createSystemClock, type IdentifyPeer, type PeerIdentity } from "@meridian/runtime";
import { parsePeerUri } from "./peer-uri.ts";

/** What {@link createIdentifyPeer} may be told. */
export interface IdentifyPeerOptions {
  /** Judges expiry; the system clock when absent. */
  readonly clock?: Clock;
  /**
   * Whether the issuer's name must be that of the site's own intermediate (`O=<trust domain>, OU=<site>`), so that one
   * site's key cannot issue identities of another. True when absent; false for certificates from another CA.
   */
  readonly bindSiteToIssuer?: boolean;
}

/**
 * Reads a peer's identity from its leaf, whose chain the TLS handshake has verified. Refuses with ContentError `denied`
 * what is expired, is a CA, has not exactly one URI, is of another trust domain, or was issued by another site.
 */
export function createIdentifyPeer(trustDomain: string, options: IdentifyPeerOptions = {}): IdentifyPeer {
  const clock = options.clock ?? createSystemClock();
  const bindSiteToIssuer = options.bindSiteToIssuer ?? true;
  const read = (der: Uint8Array): KnownPeer => {
    const certificate = parse(der);
    const from = certificate.validFromDate.getTime();
    const to = certificate.validToDate.getTime();
    requireInTime(clock.now(), from, to);
    if (certificate.ca) throw denied("is a certificate authority");
    const peer = identityIn(certificate);
    if (peer.trustDomain !== trustDomain) throw denied(`is of trust domain ${peer.trustDomain}, not ${trustDomain}`);
    if (bindSiteToIssuer && !isIssuedBySite(certificate, peer)) throw denied(`was not issued by site ${peer.site}`);
    return { peer, from, to };
  };
  // Every call of a connection shows the same certificate: the whole of it is the key, so nothing else can match.
  const known = new Map<string, KnownPeer>();
  return (der) => {
    const key = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("latin1");
    const before = known.get(key);
    if (before !== undefined) {
      requireInTime(clock.now(), before.from, before.to);
      return before.peer;
    }
    const fresh = read(der);
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(key, fresh);
    return fresh.peer;
  };
}

/** Certificates remembered: more than a cluster has processes. */
const MAX_KNOWN = 1_000;

interface KnownPeer {
  readonly peer: PeerIdentity;
  /** Validity, milliseconds since the Unix epoch. */
  readonly from: number;
  readonly to: number;
}

function requireInTime(now: number, from: number, to: number): void {
  if (now > to) throw denied("has expired");
  if (now < from) throw denied("is not valid yet");
}

function parse(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (error) {
    throw new ContentError("denied", "the peer's certificate cannot be read", { cause: error });
  }
}

function identityIn(certificate: X509Certificate): PeerIdentity {
  const names = certificate.subjectAltName ?? "";
  // Node quotes names with commas or quotes in them; ours have none, and guessing where one ends is how names are forged.
  if (names.includes('"')) throw denied("has names that no certificate of ours has");
  const uris = names.split(", ").filter((name) => name.startsWith("URI:"));
  const [uri, ...others] = uris;
  if (uri === undefined) throw denied("names no service: it has no URI");
  const peer = parsePeerUri(uri.slice("URI:".length));
  if (peer === undefined || others.length > 0) throw denied("does not name one service by its URI");
  return peer;
}

/** The issuer's name lines are signed with the leaf, and the chain check found the intermediate by exactly that name. */
function isIssuedBySite(certificate: X509Certificate, { trustDomain, site }: PeerIdentity): boolean {
  const lines = certificate.issuer.split("\n");
  return lines.includes(`O=${trustDomain}`) && lines.filter((line) => line.startsWith("OU=")).join() === `OU=${site}`;
}

function denied(why: string): ContentError {
  return new ContentError("denied", `the peer's certificate ${why}`);
}
