import { Refusal } from "./refusal.ts";

const MAX_QUERY = 8 * 1024;

/** The parameters of a query or form. @throws Refusal 414 when it is longer than 8 KiB. */
export function parseQuery(text: string): URLSearchParams {
  if (text.length > MAX_QUERY) throw new Refusal("UNSUPPORTED", "the query is too long", { status: 414 });
  return new URLSearchParams(text);
}

/** What a client asked for of a list. */
export interface PageQuery {
  readonly n: number;
  /** Exclusive; absent for the first page. */
  readonly last?: string;
}

/** A page is never longer than this, whatever the client asks for: `Link` leads on. */
const MAX_PAGE = 10_000;
/** Longer than any name, so what comes after a longer `last` comes after its beginning. */
const MAX_LAST = 256;

/** Reads `n` and `last` (OCI distribution-spec, "Listing Tags"). @throws Refusal 400 when `n` is no number. */
export function parsePage(query: string): PageQuery {
  const parameters = parseQuery(query);
  const n = parameters.get("n");
  if (n !== null && !/^\d{1,9}$/.test(n))
    throw new Refusal("UNSUPPORTED", "n is not a number of entries", { status: 400 });
  const last = parameters.get("last")?.slice(0, MAX_LAST);
  return { n: n === null ? MAX_PAGE : Math.min(Number(n), MAX_PAGE), last };
}

/** The `Link` header to the page of `n` entries behind `last`. */
export function nextLink(path: string, n: number, last: string): readonly string[] {
  return linkTo(path, { n: String(n), last });
}

/** The `Link` header to the next page (RFC 8288), path-absolute: clients refuse another host. */
export function linkTo(path: string, parameters: Readonly<Record<string, string>>): readonly string[] {
  return ["Link", `<${path}?${new URLSearchParams(parameters)}>; rel="next"`];
}
