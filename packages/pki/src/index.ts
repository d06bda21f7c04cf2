export {
  type CertificateFiles,
  type DevPki,
  type DevPkiOptions,
  type DevPkiSite,
  ensureDevPki,
} from "./dev-pki.ts";
export { type FileTlsSourceOptions, fileTlsSource } from "./file-tls-source.ts";
export { createIdentifyPeer, type IdentifyPeerOptions } from "./identify-peer.ts";
export { formatPeerUri, parsePeerUri } from "./peer-uri.ts";
export {
  type ClientTlsOptions,
  clientTlsOptions,
  followTlsSource,
  type ServerTlsOptions,
  serverTlsOptions,
} from "./tls-options.ts";
