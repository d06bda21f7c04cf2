import { type ClientRequest, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { Agent, request as httpsRequest } from "node:https";
import { connect } from "node:net";
import type { Peers } from "@meridian/cluster";
import type { TlsSource } from "@meridian/runtime";
import type { Exchange, HeaderList } from "./exchange.ts";
import { Refusal, unavailable } from "./refusal.ts";

/** Passes requests on to the gateways of other sites. Clients are never redirected: they would lose their credentials. */
export interface SiteProxy extends Disposable {
  /**
   * `what` the request is about, for the error.
   * @throws Refusal 503 when no gateway of the site can be reached, BLOB_UPLOAD_UNKNOWN when there is no such site.
   */
  pass(exchange: Exchange, site: string, what?: string, options?: PassOptions): Promise<void>;
}

/** How a request is passed on. */
export interface PassOptions {
  /** The request's body, where it was read already. */
  readonly body?: Buffer;
  /** Awaited before the answer is sent, which then is the site's. */
  readonly answered?: (headers: IncomingHttpHeaders) => Promise<void>;
}

/** True for a request that another site's gateway passed on. */
export function isPassedOn(exchange: Exchange): boolean {
  return exchange.header(PROXIED) !== undefined;
}

/** Headers of one hop (RFC 9110 §7.6.1), and those that this side sets. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "te",
  "trailer",
  "upgrade",
  "date",
  "proxy-connection",
]);
const FORWARDED = [
  "authorization",
  "content-type",
  "content-range",
  "content-length",
  "if-match",
  "if-none-match",
  "user-agent",
  "traceparent",
  "tracestate",
];
/** Answers to uploads have small bodies. */
const MAX_ANSWER = 64 * 1024;
/** Answers start within 20 s of a body's last byte. */
const ANSWER_TIMEOUT_MS = 25_000;
const PROXIED = "meridian-proxied";
const UPLOAD = "this upload";
/** Longer than the round trip of any link. */
const CONNECT_TIMEOUT_MS = 1_500;

/** `trust`: whose certificates to accept at the other sites' edges; absent where the edge is plain HTTP. */
export function createSiteProxy({ peers, trust }: { readonly peers: Peers; readonly trust?: TlsSource }): SiteProxy {
  const agent = trust === undefined ? undefined : new Agent({ keepAlive: true, maxSockets: 64, timeout: 60_000 });
  return {
    async pass(exchange, site, what = UPLOAD, { body, answered } = {}) {
      const gateways = peers.processes("gateway", site).filter(({ edge }) => edge !== undefined);
      if (gateways.length === 0 || isPassedOn(exchange)) {
        throw new Refusal("BLOB_UPLOAD_UNKNOWN", "there is no such upload: start a new one");
      }
      const options = { method: exchange.method, path: pathOf(exchange), headers: headersOf(exchange) };
      const again = what === UPLOAD ? ", or start anew here" : "";
      const origin = await reachable(gateways.map(({ edge }) => new URL(edge!)));
      const outgoing =
        origin.protocol === "https:"
          ? httpsRequest(origin, { ...options, agent, ca: trust?.current().ca })
          : httpRequest(origin, options);
      try {
        const response = await exchangeBodies(exchange, outgoing, body);
        await answered?.(response.headers);
        await relay(exchange, response);
      } catch (error) {
        outgoing.destroy();
        if (error instanceof Refusal) throw error;
        throw unavailable(`${what} is at site ${site}, which cannot be reached now; it can go on later${again}`, {
          cause: error,
        });
      }
    },
    [Symbol.dispose]: () => agent?.destroy(),
  };
}

/**
 * The first gateway that accepts a connection, the first of all when none does: a body can be sent only once. One
 * alone is not tried beforehand.
 */
async function reachable(origins: readonly URL[]): Promise<URL> {
  const [first, ...others] = origins;
  if (others.length === 0) return first!;
  for (const origin of origins) if (await accepts(origin)) return origin;
  return first!;
}

function accepts({ protocol, hostname, port }: URL): Promise<boolean> {
  return new Promise((resolve) => {
    const host = hostname.replace(/^\[|\]$/g, "");
    const socket = connect({
      host,
      port: Number(port) || (protocol === "https:" ? 443 : 80),
      timeout: CONNECT_TIMEOUT_MS,
    });
    const settle = (accepted: boolean): void => {
      socket.destroy();
      resolve(accepted);
    };
    socket
      .once("connect", () => settle(true))
      .once("error", () => settle(false))
      .once("timeout", () => settle(false));
  });
}

function pathOf(exchange: Exchange): string {
  return exchange.query === "" ? exchange.path : `${exchange.path}?${exchange.query}`;
}

function headersOf(exchange: Exchange): Record<string, string> {
  const headers: Record<string, string> = { [PROXIED]: "1" };
  for (const name of FORWARDED) {
    const value = exchange.header(name);
    if (value !== undefined) headers[name] = value;
  }
  return headers;
}

/** Sends the body on as it comes, and resolves with the answer, which may come earlier than the body's end. */
function exchangeBodies(exchange: Exchange, outgoing: ClientRequest, body?: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let answered = false;
    outgoing.once("error", reject).once("response", (response) => {
      answered = true;
      resolve(response);
    });
    sendBody(exchange, outgoing, body, () => answered).then(() => {
      outgoing.setTimeout(ANSWER_TIMEOUT_MS, () => outgoing.destroy(new Error("no answer in time")));
    }, reject);
  });
}

async function sendBody(
  exchange: Exchange,
  outgoing: ClientRequest,
  body: Buffer | undefined,
  isAnswered: () => boolean,
): Promise<void> {
  if (body !== undefined) outgoing.write(body);
  else if (exchange.hasBody) {
    for await (const chunk of exchange.body()) {
      if (outgoing.destroyed || isAnswered()) return;
      await new Promise<void>((resolve) => outgoing.write(chunk, () => resolve()));
    }
  }
  outgoing.end();
}

async function relay(exchange: Exchange, response: IncomingMessage): Promise<void> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_ANSWER) throw new Error("the other gateway's answer is too long");
    chunks.push(chunk);
  }
  exchange.send(
    response.statusCode ?? 502,
    endToEnd(response.rawHeaders),
    length === 0 ? undefined : Buffer.concat(chunks),
  );
}

function endToEnd(raw: readonly string[]): HeaderList {
  const kept: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (!HOP_BY_HOP.has(raw[i]!.toLowerCase())) kept.push(raw[i]!, raw[i + 1]!);
  }
  return kept;
}
