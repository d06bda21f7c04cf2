import type { Socket } from "node:net";
import { connect, createSecureContext, type PeerCertificate, type SecureContext } from "node:tls";
import { CallCredentials, ChannelCredentials, ServerCredentials } from "@grpc/grpc-js";
import type { TlsMaterial, TlsSource } from "@meridian/runtime";

/** No host name is verified: the peer is known by the URI in its certificate, whatever address it was reached at. */
const SERVER_NAME = "meridian-peer";

/** The TLS end of a server: client certificates required, TLS 1.3 only, rotated material used for new connections. */
export class MutualTlsServerCredentials extends ServerCredentials implements Disposable {
  readonly #subscription: Disposable;

  constructor(source: TlsSource) {
    super({ requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" }, contextOptions(source.current()));
    this.#subscription = source.subscribe((material) => this.updateSecureContextOptions(contextOptions(material)));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }
}

/** The TLS end of a channel; every new connection takes the source's current material. */
export class MutualTlsChannelCredentials extends ChannelCredentials {
  readonly #source: TlsSource;
  readonly #verify: (certificate: Uint8Array) => void;
  #cached: { readonly material: TlsMaterial; readonly context: SecureContext } | undefined;

  /** `verify` gets the server's DER leaf, whose chain is verified already; it throws to refuse the server. */
  constructor(source: TlsSource, verify: (certificate: Uint8Array) => void) {
    super();
    this.#source = source;
    this.#verify = verify;
  }

  override _isSecure(): boolean {
    return true;
  }

  override _equals(other: ChannelCredentials): boolean {
    return this === other;
  }

  override _createSecureConnector(_target: unknown, _options: unknown, callCredentials?: CallCredentials) {
    return {
      connect: async (socket: Socket) => ({ socket: await this.#connect(socket), secure: true }),
      waitForReady: async () => {},
      getCallCredentials: () => callCredentials ?? CallCredentials.createEmpty(),
      destroy: () => {},
    };
  }

  #connect(socket: Socket): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const secure = connect({
        socket,
        secureContext: this.#context(),
        servername: SERVER_NAME,
        ALPNProtocols: ["h2"],
        rejectUnauthorized: true,
        checkServerIdentity: (_host, certificate) => this.#refusal(certificate),
      });
      secure.once("secureConnect", () => resolve(secure));
      secure.once("close", () => reject(new Error("connection closed during the TLS handshake")));
      secure.on("error", reject);
    });
  }

  #refusal(certificate: PeerCertificate): Error | undefined {
    try {
      this.#verify(certificate.raw);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #context(): SecureContext {
    const material = this.#source.current();
    if (this.#cached?.material !== material) {
      this.#cached = { material, context: createSecureContext({ ...contextOptions(material), minVersion: "TLSv1.3" }) };
    }
    return this.#cached.context;
  }
}

function contextOptions({ key, cert, ca }: TlsMaterial) {
  return { key, cert, ca };
}
