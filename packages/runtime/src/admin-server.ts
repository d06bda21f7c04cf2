import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import type { Health } from "./health.ts";
import { explainListenError } from "./listen-error.ts";
import type { Logger } from "./logger.ts";

/** Answers one path of the admin server. A rejection becomes 500 and a log line. */
export type AdminHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** What {@link startAdminServer} needs. */
export interface AdminServerOptions {
  /** Bind address. The server has no authentication: loopback, or a network for operators only. */
  readonly host: string;
  /** 0 picks one. */
  readonly port: number;
  readonly health: Health;
  /** The metrics in Prometheus text format; /metrics answers 404 when absent. */
  readonly metrics?: () => Promise<string>;
  /** Further paths, exact, e.g. "/topology". */
  readonly extra?: ReadonlyMap<string, AdminHandler>;
  readonly log: Logger;
}

/** A running admin server; disposing closes it and its connections. */
export interface AdminServer extends AsyncDisposable {
  /** `http://host:port`, no slash at its end. */
  readonly url: string;
}

/**
 * Serves /livez (200 while the event loop turns), /readyz (200 or 503, with the outcome of each check as JSON) and
 * /metrics. Rejects with an Error of one line when the address cannot be listened on.
 */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const server = createServer(requestListener(options));
  const host = isIPv6(options.host) ? `[${options.host}]` : options.host;
  try {
    server.listen(options.port, options.host);
    await once(server, "listening");
  } catch (error) {
    throw new Error(explainListenError(`${host}:${options.port}`, error), { cause: error });
  }
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => close(server),
  };
}

async function close(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}

function requestListener(options: AdminServerOptions): RequestListener {
  const handlers = handlersOf(options);
  return (request, response) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    const handler = handlers.get(path);
    if (handler === undefined) {
      answer(response, 404, { error: `no such path; there are ${[...handlers.keys()].join(", ")}` });
      return;
    }
    Promise.resolve()
      .then(() => handler(request, response))
      .catch((error: unknown) => {
        options.log.error("admin request failed", { path, error });
        if (response.headersSent) response.destroy();
        else answer(response, 500, { error: "internal error" });
      });
  };
}

function handlersOf({ health, metrics, extra }: AdminServerOptions): ReadonlyMap<string, AdminHandler> {
  const handlers = new Map<string, AdminHandler>([
    ["/livez", readOnly((_request, response) => answer(response, 200, { status: "ok" }))],
    [
      "/readyz",
      readOnly(async (_request, response) => {
        const report = await health.report();
        answer(response, report.ready ? 200 : 503, report);
      }),
    ],
  ]);
  if (metrics !== undefined) {
    const serve: AdminHandler = async (_request, response) => {
      const text = await metrics();
      response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text);
    };
    handlers.set("/metrics", readOnly(serve));
  }
  for (const [path, handler] of extra ?? []) handlers.set(path, handler);
  return handlers;
}

function readOnly(handler: AdminHandler): AdminHandler {
  return (request, response) => {
    if (request.method === "GET" || request.method === "HEAD") return handler(request, response);
    response.setHeader("allow", "GET, HEAD");
    return answer(response, 405, { error: "only GET and HEAD" });
  };
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  response.writeHead(status, headers).end(`${JSON.stringify(body)}\n`);
}
