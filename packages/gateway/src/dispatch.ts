import type { Catalog, LogLife } from "@meridian/catalog";
import { type ErrorSubject, isContentError, type OciError, toErrorBody, tryParseRepository } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { startServerSpan } from "@meridian/runtime";
import { type AnswerHeaders, CacheControl } from "./answer.ts";
import type { Exchange } from "./exchange.ts";
import type { Handler, ResourceHandlers } from "./handler.ts";
import type { Readiness } from "./readiness.ts";
import { busy, Refusal, refusalHeaders, refusalOf, unavailable } from "./refusal.ts";
import type { RequestLimits } from "./request-limits.ts";
import { createPathMatcher, type Match, type ResourceName } from "./router.ts";
import type { SiteMembers } from "./site-members.ts";
import { spanName, tracer } from "./tracing.ts";

/** What {@link createDispatch} needs. */
export interface DispatchOptions {
  readonly routes: Readonly<Record<ResourceName, ResourceHandlers>>;
  readonly catalog: Catalog;
  readonly readiness: Readiness;
  readonly members: Pick<SiteMembers, "refusal">;
  readonly answers: AnswerHeaders;
  readonly requestLimits: RequestLimits;
  readonly site: string;
  /** How long a request waits for the version that it wants to see, in milliseconds. */
  readonly transientWaitMs: number;
  readonly maxRequests: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Takes requests to their handlers and errors to their answers. */
export interface Dispatch {
  handle(exchange: Exchange): void;
  /** Requests that are being handled. */
  readonly underWay: number;
}

type Method = keyof ResourceHandlers;
const METHODS: readonly Method[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/** What a failed request was about, for the words of its error. */
const SUBJECTS: Partial<Record<ResourceName, ErrorSubject>> = {
  blob: "blob",
  route: "blob",
  manifest: "manifest",
  replication: "manifest",
  upload: "upload",
  uploads: "upload",
};

export function createDispatch(options: DispatchOptions): Dispatch {
  const { clock, log } = options;
  const matchPath = createPathMatcher();
  let underWay = 0;

  const done = (exchange: Exchange, match: Match | undefined, startedAt: number): void => {
    underWay -= 1;
    log.debug("request", {
      method: exchange.method,
      resource: match?.resource ?? "none",
      repository: match?.name,
      status: exchange.status,
      ms: clock.monotonic() - startedAt,
    });
  };

  const fail = (exchange: Exchange, match: Match | undefined, error: unknown): void =>
    answerFailure(
      exchange,
      refusalOf(error, SUBJECTS[match?.resource ?? "ping"] ?? "repository", options.site),
      options,
    );

  const serve = (exchange: Exchange, match: Match | undefined, startedAt: number): void | Promise<void> => {
    underWay += 1;
    try {
      const handled = run(exchange, match, underWay, options);
      if (handled === undefined) {
        done(exchange, match, startedAt);
        return;
      }
      return handled
        .catch((error: unknown) => fail(exchange, match, error))
        .finally(() => done(exchange, match, startedAt));
    } catch (error) {
      fail(exchange, match, error);
      done(exchange, match, startedAt);
    }
  };

  return {
    handle(exchange) {
      const startedAt = clock.monotonic();
      const match = matchPath(exchange.path);
      // Health checks come every few seconds for ever: traces are for what users ask.
      const span = isHealthCheck(match)
        ? undefined
        : startServerSpan(tracer, spanName(exchange.method, match), { traceparent: exchange.header("traceparent") });
      if (span === undefined) {
        void serve(exchange, match, startedAt);
        return;
      }
      exchange.traced = true;
      span.span.setAttributes({ "http.request.method": exchange.method, "meridian.repository": match?.name ?? "" });
      const end = (): void => {
        span.span.setAttribute("http.response.status_code", exchange.status);
        span.end(exchange.status >= 500 ? new Error(`answered ${exchange.status}`) : undefined);
      };
      const served = span.run(() => serve(exchange, match, startedAt));
      if (served === undefined) end();
      else void served.then(end);
    },
    get underWay() {
      return underWay;
    },
  };
}

function run(
  exchange: Exchange,
  match: Match | undefined,
  underWay: number,
  options: DispatchOptions,
): void | Promise<void> {
  if (match === undefined) throw new Refusal("NAME_UNKNOWN", "there is nothing at this path", { status: 404 });
  const handler = handlerOf(exchange, options.routes[match.resource]);
  if (!isHealthCheck(match)) options.requestLimits.ofAddress(exchange);
  if (match.name === "") return handler(exchange, match);
  if (underWay > options.maxRequests) throw busy(exchange, "too many requests at once", 1);
  if (tryParseRepository(match.name) === undefined) throw new Refusal("NAME_INVALID", "invalid repository name");
  if (changesContent(exchange, match)) requireWritable(options.catalog.life);
  const wanted = exchange.header("meridian-min-version");
  if (wanted === undefined && options.readiness.ready) return handler(exchange, match);
  return afterWaiting(exchange, match, handler, wanted, options);
}

/** What writes to the site's log, in the end. */
const CONTENT: ReadonlySet<ResourceName> = new Set([
  "manifest",
  "blob",
  "uploads",
  "upload",
  "repository",
  "tag-restore",
  "manifest-restore",
]);

function changesContent({ method }: Exchange, { resource }: Match): boolean {
  return method !== "GET" && method !== "HEAD" && CONTENT.has(resource);
}

/** @throws Refusal 503 while the site's log does not have what it had: nothing of the request is taken then. */
function requireWritable({ restoring }: LogLife): void {
  if (restoring === undefined) return;
  const { message, ...detail } = restoring;
  throw unavailable(message, { detail: { reason: "restoring", ...detail } });
}

function isHealthCheck(match: Match | undefined): boolean {
  return match?.resource === "livez" || match?.resource === "readyz";
}

function handlerOf(exchange: Exchange, handlers: ResourceHandlers): Handler {
  const method = exchange.method as Method;
  const handler = handlers[method] ?? (method === "HEAD" ? handlers.GET : undefined);
  if (handler !== undefined) return handler;
  const allowed = METHODS.filter((known) => handlers[known] ?? (known === "HEAD" && handlers.GET));
  throw new Refusal("UNSUPPORTED", `${exchange.method} is not possible here`, {
    headers: ["Allow", allowed.join(", ")],
  });
}

async function afterWaiting(
  exchange: Exchange,
  match: Match,
  handler: Handler,
  wanted: string | undefined,
  { readiness, members, catalog, timers, transientWaitMs, site }: DispatchOptions,
): Promise<void> {
  // Administrators bring out of a site that was expelled what only it has.
  if (members.refusal !== undefined && !isSalvage(exchange))
    throw unavailable(`${members.refusal}: use another site`, { detail: { site } });
  await readiness.wait(exchange.signal);
  if (wanted !== undefined) await reach(wanted, catalog, timers, transientWaitMs, exchange.signal);
  await handler(exchange, match);
}

function isSalvage(exchange: Exchange): boolean {
  const reads = exchange.method === "GET" || exchange.method === "HEAD";
  return reads && exchange.header("meridian-salvage") !== undefined;
}

/** `Meridian-Min-Version`: that state or newer, never older. */
async function reach(
  wanted: string,
  catalog: Catalog,
  timers: Timers,
  waitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const late = new AbortController();
  using _deadline = timers.after(waitMs, () => late.abort());
  try {
    await catalog.reached(wanted, AbortSignal.any([signal, late.signal]));
  } catch (error) {
    if (isContentError(error, "invalid"))
      throw new Refusal("UNSUPPORTED", "Meridian-Min-Version is no version token", { status: 400, cause: error });
    if (isContentError(error, "precondition")) {
      throw unavailable(
        "the wanted version was lost with the log that held it: no site has it, so it is not waited for",
        {
          detail: { reason: "lost" },
          cause: error,
        },
      );
    }
    throw unavailable("this site has not reached the wanted version yet", { cause: error });
  }
}

function answerFailure(exchange: Exchange, error: OciError, { answers, log }: DispatchOptions): void {
  if (error.status >= 500)
    log[error.status === 500 ? "error" : "warn"]("a request failed", {
      path: exchange.path,
      code: error.code,
      status: error.status,
      error: error.cause ?? error,
    });
  if (exchange.status !== 0) return;
  const body = toErrorBody(error);
  exchange.send(
    error.status,
    [
      "Content-Type",
      "application/json",
      "Content-Length",
      String(body.length),
      ...answers.fixed,
      "Cache-Control",
      CacheControl.never,
      ...answers.stale(),
      ...refusalHeaders(error),
    ],
    body,
  );
}
