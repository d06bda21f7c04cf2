import type { z } from "zod";
import type { Exchange } from "./exchange.ts";
import { Refusal } from "./refusal.ts";
import { readBody } from "./request-body.ts";

const MAX_BODY = 64 * 1024;

/** The body of an administrator's request. @throws Refusal 400 naming every problem, 413 beyond 64 KiB. */
export async function readJson<S extends z.ZodType>(exchange: Exchange, schema: S): Promise<z.output<S>> {
  const text = (await readBody(exchange, MAX_BODY)).toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Refusal("UNSUPPORTED", "the body is no JSON", { status: 400, cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "body"}: ${message}`);
  throw new Refusal("UNSUPPORTED", problems.join("; "), { status: 400 });
}
