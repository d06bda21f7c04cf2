import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { ContentError } from "@meridian/oci";
import type { IdentifyPeer, PeerIdentity } from "@meridian/runtime";

/** Who is at the other end of a connection, looked up once for each. */
export class PeerOfSocket {
  readonly #identify: IdentifyPeer | undefined;
  readonly #known = new WeakMap<Socket, PeerIdentity>();

  constructor(identify: IdentifyPeer | undefined) {
    this.#identify = identify;
  }

  /** Undefined only for plain HTTP. @throws ContentError `denied`. */
  of(socket: Socket): PeerIdentity | undefined {
    if (!(socket instanceof TLSSocket)) return undefined;
    const known = this.#known.get(socket);
    if (known !== undefined) return known;
    const certificate = socket.getPeerX509Certificate();
    if (!socket.authorized || certificate === undefined || this.#identify === undefined) {
      throw new ContentError("denied", "a client certificate of the cluster is needed");
    }
    const peer = this.#identify(certificate.raw);
    this.#known.set(socket, peer);
    return peer;
  }
}
