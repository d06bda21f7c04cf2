import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { connect } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import type { Timers } from "@meridian/runtime";
import { edgeOrigin, type Plan } from "./plan.ts";

const POLL_MS = 50;
const PROGRESS_MS = 2_000;

/**
 * Waits until every gateway answers 200 at /readyz.
 * @throws Error that names each gateway that is not ready and why, when the signal aborts first.
 */
export async function allReady(parameters: {
  readonly plan: Plan;
  /** PEM */
  readonly ca: string;
  readonly timers: Timers;
  readonly onProgress?: (message: string) => void;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { plan, ca, timers, onProgress, signal } = parameters;
  const missing = new Map<string, string>();
  using _progress = timers.every(PROGRESS_MS, () => {
    onProgress?.(`waiting for ${[...missing].map(([name, why]) => `${name} (${why})`).join(", ")}`);
  });
  // Made once: reading the certificates is most of the work of asking.
  const secureContext = createSecureContext({ ca });
  const gateways = plan.sites.flatMap((site) => site.processes).filter((process) => process.edgePort !== undefined);
  await Promise.all(
    gateways.map(async (process) => {
      const name = `${process.site}/${process.name}`;
      const url = `${edgeOrigin(plan.options, process.edgePort ?? 0)}/readyz`;
      for (;;) {
        const why = (await listens(plan.options.host, process.edgePort ?? 0))
          ? await notReady(url, secureContext)
          : "starting";
        if (why === undefined) break;
        missing.set(name, why);
        if (signal.aborted) {
          throw new Error(
            `not ready in time: ${[...missing].map(([who, what]) => `${who}: ${what}; see ${process.logFile}`).join("; ")}`,
          );
        }
        await timers.sleep(POLL_MS);
      }
      missing.delete(name);
    }),
  );
}

/** A plain connection, which costs a hundredth of a request over TLS: the sites that start need the processor. */
function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once("error", () => resolve(false));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

/** Undefined when ready, else what /readyz or the connection says. */
function notReady(url: string, secureContext: SecureContext): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: 2_000, agent: false as const, secureContext };
    const request = (url.startsWith("https:") ? httpsGet : httpGet)(url, options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text = (text + chunk).slice(0, 10_000);
      });
      response.on("end", () => resolve(response.statusCode === 200 ? undefined : failingChecks(text)));
      response.on("error", () => resolve("its answer broke off"));
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code === "ECONNREFUSED" ? "starting" : error.message),
    );
  });
}

function failingChecks(text: string): string {
  try {
    const report = JSON.parse(text) as { checks?: Array<{ name: string; ok: boolean; message?: string }> };
    const failing = report.checks
      ?.filter((check) => !check.ok)
      .map((check) => `${check.name}: ${check.message ?? "fails"}`);
    return failing?.join(", ") || "not ready";
  } catch {
    return "not ready";
  }
}
