import "reflect-metadata";
import type { webcrypto } from "node:crypto";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";

/** ECDSA on P-256 with SHA-256: what every TLS stack speaks, and quick to make. */
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const NAME_CONSTRAINTS_OID = "2.5.29.30";

/** A certificate and its private key, both PEM; the key is PKCS #8. */
export interface KeyAndCertificate {
  readonly key: string;
  readonly cert: string;
}

interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** What a certificate authority is called: fields of its distinguished name. */
export interface AuthorityName {
  readonly commonName: string;
  readonly trustDomain: string;
  /** Absent for the root. */
  readonly site?: string;
}

/** A self-signed root that may have one level of authorities below it. `key` keeps an existing key. */
export async function issueRoot(
  options: { readonly name: AuthorityName; readonly key?: string } & Validity,
): Promise<KeyAndCertificate> {
  const keys = await keyPair(options.key);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: distinguishedName(options.name),
    notBefore: options.notBefore,
    notAfter: options.notAfter,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: await authorityExtensions(keys.publicKey, 1),
  });
  return exported(keys, certificate);
}

/** A site's authority: issues leaves only, and only URIs of the trust domain (RFC 5280 section 4.2.1.10). */
export async function issueIntermediate(
  options: { readonly name: AuthorityName; readonly issuer: KeyAndCertificate; readonly key?: string } & Validity,
): Promise<KeyAndCertificate> {
  const keys = await keyPair(options.key);
  const issuer = new x509.X509Certificate(options.issuer.cert);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: distinguishedName(options.name),
    issuer: issuer.subjectName,
    notBefore: options.notBefore,
    notAfter: options.notAfter,
    publicKey: keys.publicKey,
    signingKey: await signingKey(options.issuer.key),
    signingAlgorithm: ALGORITHM,
    extensions: [
      ...(await authorityExtensions(keys.publicKey, 0)),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      permittedUriHost(options.name.trustDomain),
    ],
  });
  return exported(keys, certificate);
}

/** What a leaf is for: `peer` proves itself in both directions between services, `edge` serves clients. */
export type LeafUse = "peer" | "edge";

/** A certificate with a new key; the names are DNS names, IP addresses, and at most one URI. */
export async function issueLeaf(
  options: {
    readonly commonName: string;
    readonly use: LeafUse;
    readonly uri?: string;
    readonly names: readonly string[];
    readonly issuer: KeyAndCertificate;
  } & Validity,
): Promise<KeyAndCertificate> {
  const keys = await keyPair();
  const issuer = new x509.X509Certificate(options.issuer.cert);
  const uses = [
    x509.ExtendedKeyUsage.serverAuth,
    ...(options.use === "peer" ? [x509.ExtendedKeyUsage.clientAuth] : []),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [options.commonName] }],
    issuer: issuer.subjectName,
    notBefore: options.notBefore,
    notAfter: options.notAfter,
    publicKey: keys.publicKey,
    signingKey: await signingKey(options.issuer.key),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(uses),
      new x509.SubjectAlternativeNameExtension(alternativeNames(options.uri, options.names)),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return exported(keys, certificate);
}

async function authorityExtensions(
  publicKey: webcrypto.CryptoKey,
  authoritiesBelow: number,
): Promise<x509.Extension[]> {
  return [
    new x509.BasicConstraintsExtension(true, authoritiesBelow, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
  ];
}

/** NameConstraints ::= SEQUENCE { permittedSubtrees [0] { { base [6] uniformResourceIdentifier } } }, in DER. */
function permittedUriHost(host: string): x509.Extension {
  const wrap = (tag: number, content: Uint8Array): Uint8Array => Uint8Array.of(tag, content.length, ...content);
  const base = wrap(0x86, new TextEncoder().encode(host));
  // Lengths stay one byte: a trust domain is bounded below.
  if (base.length > 100) throw new RangeError("the trust domain is too long");
  return new x509.Extension(NAME_CONSTRAINTS_OID, true, wrap(0x30, wrap(0xa0, wrap(0x30, base))).slice().buffer);
}

function distinguishedName({ commonName, trustDomain, site }: AuthorityName): x509.JsonName {
  return [{ O: [trustDomain] }, ...(site === undefined ? [] : [{ OU: [site] }]), { CN: [commonName] }];
}

function alternativeNames(uri: string | undefined, names: readonly string[]): x509.JsonGeneralNames {
  const uris = uri === undefined ? [] : [{ type: "url" as const, value: uri }];
  return [...uris, ...names.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value }))];
}

async function keyPair(pem?: string): Promise<webcrypto.CryptoKeyPair> {
  if (pem === undefined) return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const privateKey = await signingKey(pem);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", privateKey);
  const publicKey = await crypto.subtle.importKey("jwk", { kty, crv, x, y }, ALGORITHM, true, ["verify"]);
  return { privateKey, publicKey };
}

function signingKey(pem: string): Promise<webcrypto.CryptoKey> {
  const [der] = x509.PemConverter.decode(pem);
  return crypto.subtle.importKey("pkcs8", der as ArrayBuffer, ALGORITHM, true, ["sign"]);
}

async function exported(keys: webcrypto.CryptoKeyPair, certificate: x509.X509Certificate): Promise<KeyAndCertificate> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    key: `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`,
    cert: `${certificate.toString("pem")}\n`,
  };
}
