import type { Http2Server, ServerHttp2Session } from "node:http2";
import { isIPv6 } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Server, ServerCredentials } from "@grpc/grpc-js";
import { explainListenError, type Logger } from "@meridian/runtime";
import { FLOW_CONTROL_WINDOW_BYTES } from "./limits.ts";

/** Binds and returns the bound address, `host:port`. Rejects with an Error that says which address and why. */
export function bind(server: Server, host: string, port: number, credentials: ServerCredentials): Promise<string> {
  const name = isIPv6(host) ? `[${host}]` : host;
  return new Promise((resolve, reject) => {
    server.bindAsync(`${name}:${port}`, credentials, (error, bound) => {
      if (error === null) resolve(`${name}:${bound}`);
      else reject(new Error(explainListenError(`${name}:${port}`, error), { cause: error }));
    });
  });
}

/**
 * Raises what a client may send ahead of reading, per stream and per connection, and has each connection read its client's
 * certificate once: grpc-js asks the socket at every call, which takes longer than all else of a small one. grpc-js 1.14
 * applies `grpc-node.flow_control_window` to channels only and gives no way to its HTTP/2 servers, hence the look inside.
 */
export function tuneConnections(server: Server, log: Logger): void {
  const inner: unknown = Reflect.get(server, "http2Servers");
  if (!(inner instanceof Map)) {
    log.warn("cannot tune the connections of peers: this grpc-js hides its HTTP/2 servers elsewhere");
    return;
  }
  for (const http2Server of inner.keys() as Iterable<Http2Server>) {
    http2Server.updateSettings({ initialWindowSize: FLOW_CONTROL_WINDOW_BYTES });
    http2Server.on("session", (session: ServerHttp2Session) => session.setLocalWindowSize(FLOW_CONTROL_WINDOW_BYTES));
    http2Server.on("secureConnection", keepCertificate);
  }
}

/** TLS 1.3 has no renegotiation: a client's certificate is that of the handshake for as long as the connection lives. */
function keepCertificate(socket: TLSSocket): void {
  const certificate = socket.getPeerCertificate();
  Object.defineProperty(socket, "getPeerCertificate", { value: () => certificate });
}
