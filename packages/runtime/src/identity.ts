/** Who is at the other end of an internal connection, as its certificate's URI says: `spiffe://<trust>/site/<site>/<service>`. */
export interface PeerIdentity {
  readonly trustDomain: string;
  readonly site: string;
  /** The process's service name: gateway, blob-node, replicator, auth, or site when one process has several roles. */
  readonly service: string;
}

/** PEM texts for one end of a mutual TLS connection. */
export interface TlsMaterial {
  readonly key: string;
  /** Leaf first, then the intermediates. */
  readonly cert: string;
  /** The trust bundle. */
  readonly ca: string;
}

/** Where a server or client takes its TLS material from; rotation replaces what `current` returns. */
export interface TlsSource {
  current(): TlsMaterial;
  /** Calls `changed` after each rotation, until disposed. */
  subscribe(changed: (material: TlsMaterial) => void): Disposable;
}

/** Reads the identity from a peer's DER certificate; throws ContentError `denied` when it has none or is of another trust domain. */
export type IdentifyPeer = (certificate: Uint8Array) => PeerIdentity;
