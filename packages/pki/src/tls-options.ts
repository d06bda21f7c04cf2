import type { ConnectionOptions, PeerCertificate, SecureContextOptions, TlsOptions } from "node:tls";
import { ContentError } from "@meridian/oci";
import type { IdentifyPeer, PeerIdentity, TlsMaterial, TlsSource } from "@meridian/runtime";

/** Which of the two kinds of listener: `edge` for clients, else one for peers only. */
export interface ServerTlsOptions {
  /** Edge: TLS 1.2 and up, no client certificate. Peer: TLS 1.3 only, a client certificate of the trust bundle required. */
  readonly edge: boolean;
}

/** Options for `https.createServer` and `http2.createSecureServer`. A peer's identity must still be read and judged. */
export function serverTlsOptions(source: TlsSource, { edge }: ServerTlsOptions): TlsOptions {
  const context = contextOptions(source.current(), edge);
  return edge ? context : { ...context, requestCert: true, rejectUnauthorized: true };
}

/** A server whose TLS material can be replaced while it runs. */
interface RotatableServer {
  setSecureContext(options: SecureContextOptions): void;
}

/** Gives a running server each new material of the source, until disposed; connections that exist keep theirs. */
export function followTlsSource(server: RotatableServer, source: TlsSource, { edge }: ServerTlsOptions): Disposable {
  return source.subscribe((material) => server.setSecureContext(contextOptions(material, edge)));
}

/** Which server a client wants to talk to. */
export interface ClientTlsOptions {
  readonly identify: IdentifyPeer;
  /** Any identity of the trust domain when absent. */
  readonly expect?: (peer: PeerIdentity) => boolean;
}

/**
 * Options for `tls.connect` and `https.Agent` towards a peer: TLS 1.3, our certificate, its chain verified by the trust
 * bundle and its identity by URI instead of host name. Made anew per connection, they follow rotation.
 */
export function clientTlsOptions(source: TlsSource, { identify, expect }: ClientTlsOptions): ConnectionOptions {
  const { key, cert, ca } = source.current();
  return {
    key,
    cert,
    ca,
    minVersion: "TLSv1.3",
    rejectUnauthorized: true,
    checkServerIdentity: (host, certificate) => refusal(host, certificate, { identify, expect }),
  };
}

function refusal(
  host: string,
  certificate: PeerCertificate,
  { identify, expect }: ClientTlsOptions,
): Error | undefined {
  try {
    const peer = identify(certificate.raw);
    if (expect === undefined || expect(peer)) return undefined;
    return new ContentError("denied", `${host} is ${peer.site}/${peer.service}, which is not the peer wanted there`);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function contextOptions({ key, cert, ca }: TlsMaterial, edge: boolean): SecureContextOptions {
  return edge ? { key, cert, minVersion: "TLSv1.2" } : { key, cert, ca, minVersion: "TLSv1.3" };
}
