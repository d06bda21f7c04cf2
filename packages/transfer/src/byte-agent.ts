import { type AgentOptions, Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { createSecureContext } from "node:tls";
import { ContentError } from "@meridian/oci";
import { clientTlsOptions } from "@meridian/pki";
import type { IdentifyPeer, PeerIdentity, TlsSource } from "@meridian/runtime";

/** How a client proves who it is and knows whom it talks to. Both absent only for plain HTTP. */
export interface ClientTls {
  readonly tls?: TlsSource;
  readonly identify?: IdentifyPeer;
  /** Who the other end must be. Host names are not looked at. */
  readonly expect?: (peer: PeerIdentity) => boolean;
}

/** Connections kept open to one node. */
export interface ByteAgent extends Disposable {
  readonly secure: boolean;
  current(): HttpAgent;
}

// How much a connection takes from the network ahead of its reader.
const READ_AHEAD_BYTES = 256 * 1024;
const OPTIONS: AgentOptions = { keepAlive: true, keepAliveMsecs: 30_000, maxFreeSockets: 64, scheduling: "lifo" };

/**
 * Agents for one node: keep-alive, TLS 1.3 with session resumption. A rotated certificate is used by new connections;
 * those that are busy finish with the old one.
 */
export function createByteAgent(origin: URL, { tls, identify, expect }: ClientTls): ByteAgent {
  if (origin.protocol === "http:" && tls === undefined) return plainAgent();
  if (origin.protocol !== "https:" || tls === undefined || identify === undefined) {
    throw new ContentError(
      "invalid",
      `${origin.origin}: a byte client needs https with a certificate, or plain http without`,
    );
  }
  const make = (): HttpsAgent => {
    const { key, cert, ca, minVersion, ...connection } = clientTlsOptions(tls, { identify, expect });
    return new HttpsAgent({
      ...OPTIONS,
      ...connection,
      secureContext: createSecureContext({ key, cert, ca, minVersion }),
      // Sessions are kept per agent, so one that is resumed was verified against the same expectation before.
      maxCachedSessions: 8,
      // No server name is sent: nodes are known by the URI in their certificate, wherever they listen.
      servername: "",
      highWaterMark: READ_AHEAD_BYTES,
    } as AgentOptions);
  };
  let agent = make();
  const subscription = tls.subscribe(() => {
    retire(agent);
    agent = make();
  });
  return {
    secure: true,
    current: () => agent,
    [Symbol.dispose]: () => {
      subscription[Symbol.dispose]();
      agent.destroy();
    },
  };
}

function plainAgent(): ByteAgent {
  const agent = new HttpAgent({ ...OPTIONS, highWaterMark: READ_AHEAD_BYTES } as AgentOptions);
  return { secure: false, current: () => agent, [Symbol.dispose]: () => agent.destroy() };
}

function retire(agent: HttpsAgent): void {
  // A busy connection is closed, not kept, when its request is done.
  Object.assign(agent, { keepAlive: false });
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) socket.destroy();
  }
}
