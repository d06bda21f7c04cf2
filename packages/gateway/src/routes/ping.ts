import type { Access } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import { type ResourceHandlers, whenReady } from "../handler.ts";

/** `GET /v2/`: tells whether this is a registry and how to log in (OCI distribution-spec, end-1). 401 without a token, also where pulls are public. */
export function pingRoute({ access, answers }: { access: Access; answers: AnswerHeaders }): ResourceHandlers {
  return {
    GET: (exchange) =>
      whenReady(access.admitAny(exchange), () => {
        const headers = [...answers.fixed, ...answers.stale(), "Cache-Control", CacheControl.never];
        sendJson(exchange, 200, headers, {});
      }),
  };
}
