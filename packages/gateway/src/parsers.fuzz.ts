import assert from "node:assert/strict";
import { isOciError } from "@meridian/oci";
import { fuzzTarget, hostileText, parsedOr } from "@meridian/oci/fuzz";
import fc from "fast-check";
import { bearerToken } from "./access.ts";
import { basicCredentials } from "./basic-credentials.ts";
import { createClientOrigin } from "./client-origin.ts";
import type { Exchange } from "./exchange.ts";
import { parsePage, parseQuery } from "./query.ts";
import { readHead } from "./request-head.ts";
import { matchPath } from "./router.ts";

const word = fc.constantFrom(
  "team",
  "app",
  "manifests",
  "blobs",
  "uploads",
  "tags",
  "a%2fb",
  "%2e%2e",
  "..",
  "",
  "_meridian",
  "%c3%bc",
);
const name = fc.array(word, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const reference = fc.constantFrom(
  "v1",
  "latest",
  `sha256:${"a".repeat(64)}`,
  "list",
  "uploads",
  "",
  "x%20y",
  "a.b-c_d",
);
const path = fc
  .tuple(
    name,
    fc.constantFrom("manifests", "blobs", "blobs/uploads", "tags", "referrers", "_meridian/route", "users"),
    reference,
  )
  .map(([repository, kind, last]) => `/v2/${repository}/${kind}/${last}`);

const query = fc
  .array(
    fc.tuple(fc.constantFrom("n", "last", "digest", "mount", "from", "scope", "tag"), fc.string({ maxLength: 12 })),
    { maxLength: 5 },
  )
  .map((pairs) => new URLSearchParams(pairs).toString());

const field = fc.constantFrom(
  "Host: registry.example:5001",
  "Accept: */*",
  "Authorization: Bearer abc.def.ghi",
  "Range: bytes=0-1",
  "Connection: close",
  "Content-Length: 0",
  "Transfer-Encoding: chunked",
  "X-A:  two  words ",
);
const head = fc
  .tuple(
    fc.constantFrom("GET", "HEAD", "POST", "get"),
    path,
    fc.constantFrom("HTTP/1.1", "HTTP/1.0"),
    fc.array(field, { maxLength: 6 }),
  )
  .map(([method, target, version, fields]) => [`${method} ${target} ${version}`, "Host: x", ...fields].join("\r\n"));

const secret = fc.tuple(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }));
const basic = secret.map(([user, password]) => `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`);

const host = fc.constantFrom("registry.example", "127.0.0.1:5001", "[::1]:5001", "a_b.c", "x:99999");
const forwarded = fc.constantFrom("https", "http", "10.0.0.1, 192.0.2.7", "2001:db8::1", "registry.example");
const origins = createClientOrigin({ trustedProxies: ["10.0.0.0/8"], fallbackHost: () => "fallback:1" });

/** What a client says of itself, before it is known. */
export const targets = [
  fuzzTarget("path", hostileText(path), (text) => {
    const match = matchPath(text);
    if (match === undefined) return;
    assert.ok(text.length <= 8 * 1024);
    if (match.name === "") return;
    const encode = (part: string): string => encodeURIComponent(part).replaceAll("%2F", "/");
    const again = parsedOr(
      (error) => error instanceof URIError,
      () => text.replace(/^.*$/s, () => encodedPath(match.resource, encode(match.name), encode(match.reference))),
    );
    if (again !== undefined && again.length <= 8 * 1024) assert.deepEqual(matchPath(again), match, again);
  }),
  fuzzTarget("query", hostileText(query), (text) => {
    const parameters = parsedOr(isOciError, () => parseQuery(text));
    if (parameters !== undefined) assert.deepEqual([...new URLSearchParams(parameters.toString())], [...parameters]);
    const page = parsedOr(isOciError, () => parsePage(text));
    if (page !== undefined)
      assert.ok(Number.isInteger(page.n) && page.n >= 0 && page.n <= 10_000 && (page.last ?? "").length <= 256);
  }),
  fuzzTarget("request head", hostileText(head), (text) => {
    const read = readHead(`${text}\r\n\r\n`, text.length, undefined);
    if (read === undefined) return;
    assert.match(read.target, /^\/[!-~]*$/);
    const lines = [...read.fields.values].map(([field, value]) => `${field}: ${value}`);
    for (const line of lines) assert.doesNotMatch(line, /[\r\n\0]/);
    for (const refused of ["content-length", "transfer-encoding", "expect", "upgrade"])
      assert.ok(!read.fields.values.has(refused));
    const again = [`${read.method} ${read.target} HTTP/1.1`, ...lines].join("\r\n");
    const twice = readHead(`${again}\r\n\r\n`, again.length, undefined);
    assert.deepEqual([...(twice?.fields.values ?? [])], [...read.fields.values]);
    assert.equal(twice?.fields.last, read.fields.last);
  }),
  fuzzTarget(
    "authorization",
    hostileText(fc.oneof(basic, fc.constant("Bearer abc.def.ghi"), fc.constant("basic"))),
    (text) => {
      const token = bearerToken(text);
      if (token !== undefined) assert.equal(bearerToken(`Bearer ${token}`), token);
      const credentials = parsedOr(isOciError, () => basicCredentials(text));
      if (credentials === undefined) return;
      const { username, password } = credentials;
      assert.ok(username !== "" || password !== "");
      const again = basicCredentials(`Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`);
      assert.deepEqual(again, credentials);
    },
  ),
  fuzzTarget(
    "client origin",
    fc.tuple(
      hostileText(host),
      hostileText(forwarded),
      hostileText(forwarded),
      hostileText(host),
      fc.constantFrom("10.0.0.2", "192.0.2.1", ""),
    ),
    ([hostHeader, proto, addresses, forwardedHost, peerAddress]) => {
      const headers: Record<string, string> = {
        "x-forwarded-proto": proto,
        "x-forwarded-for": addresses,
        "x-forwarded-host": forwardedHost,
      };
      const exchange = { peerAddress, host: hostHeader, encrypted: true, header: (key: string) => headers[key] };
      // It becomes the realm of a challenge: nothing may break out of the quotes or the line.
      assert.match(origins.origin(exchange as Partial<Exchange> as Exchange), /^https?:\/\/[A-Za-z0-9._:[\]-]+$/);
      const address = origins.address(exchange as Partial<Exchange> as Exchange);
      assert.ok(address === peerAddress || /^[0-9a-fA-F:.]+$/.test(address), address);
    },
  ),
];

/** The path that names this, every part encoded. */
function encodedPath(resource: string, repository: string, last: string): string {
  const base = `/v2/${repository}`;
  switch (resource) {
    case "tags":
      return `${base}/tags/list`;
    case "uploads":
      return `${base}/blobs/uploads/`;
    case "upload":
      return `${base}/blobs/uploads/${last}`;
    case "replication":
    case "route":
      return `${base}/_meridian/${resource}/${last}`;
    case "referrers":
      return `${base}/referrers/${last}`;
    default:
      return `${base}/${resource}s/${last}`;
  }
}
