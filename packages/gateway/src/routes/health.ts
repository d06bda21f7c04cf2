import type { HealthReport } from "@meridian/runtime";
import { CacheControl, sendJson } from "../answer.ts";
import type { ResourceHandlers } from "../handler.ts";

/** `/livez`: this process answers. */
export function livezRoute(): ResourceHandlers {
  return { GET: (exchange) => sendJson(exchange, 200, ["Cache-Control", CacheControl.never], { live: true }) };
}

/** `/readyz`: everything that this process needs works; 503 names what does not. */
export function readyzRoute({ health }: { health: () => Promise<HealthReport> }): ResourceHandlers {
  return {
    GET: async (exchange) => {
      const report = await health();
      sendJson(exchange, report.ready ? 200 : 503, ["Cache-Control", CacheControl.never], report);
    },
  };
}
