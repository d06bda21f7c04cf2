import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { duplexPair } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import { readHead } from "./request-head.ts";

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

/** What node's HTTP server makes of these bytes: its requests, and whether it refused some. */
async function parsedByNode(bytes: string): Promise<{ seen: Seen[]; refused: boolean }> {
  const seen: Seen[] = [];
  let refused = false;
  const server = createServer((request, response) => {
    seen.push({ method: request.method, url: request.url, headers: request.headers });
    response.end();
  });
  server.on("clientError", () => {
    refused = true;
  });
  const [client, accepted] = duplexPair();
  server.emit("connection", accepted);
  client.end(bytes, "latin1");
  await new Promise((done) => setImmediate(done));
  client.destroy();
  accepted.destroy();
  return { seen, refused };
}

const NAMES = [
  "Host",
  "host",
  "Accept",
  "Authorization",
  "Range",
  "If-None-Match",
  "Content-Length",
  "Connection",
  "X_a.b",
];
const value = fc.oneof(
  fc.constantFrom("a", "", "127.0.0.1:5001", "bytes=0-1", "0", "close", "keep-alive", "chunked", 'Bearer a.b-c"'),
  fc.string({ unit: fc.constantFrom("a", " ", "\t", "\r", "\n", ":", "\0", "é", ","), maxLength: 6 }),
);
const field = fc
  .tuple(fc.constantFrom(...NAMES), fc.constantFrom(": ", ":", " :", ":\t ", ""), value, fc.constantFrom("", " ", "\t"))
  .map((parts) => parts.join(""));
const line = fc
  .tuple(
    fc.constantFrom("GET", "HEAD", "get", "POST", " GET"),
    fc.constantFrom(" ", "  ", "\t"),
    fc.constantFrom("/v2/", "/v2/a/manifests/b?c=d", "*", "http://a/", "/a b", "/%0d%0a", "/é"),
    fc.constantFrom(" HTTP/1.1", " HTTP/1.0", " HTTP/2.0", "", " http/1.1"),
  )
  .map((parts) => parts.join(""));
const head = fc
  .tuple(fc.oneof({ weight: 3, arbitrary: fc.constant("GET /v2/ HTTP/1.1") }, line), fc.array(field, { maxLength: 5 }))
  .map(([first, fields]) => `${[first, "Host: a", ...fields].join("\r\n")}\r\n\r\n`);

test("what the lane reads, node's parser reads in the same way", async () => {
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(head, async (text) => {
      const end = text.indexOf("\r\n\r\n");
      const read = readHead(text, end, undefined);
      if (read === undefined) return;
      taken += 1;
      const { seen, refused } = await parsedByNode(text.slice(0, end + 4));
      assert.equal(refused, false);
      assert.equal(seen.length, 1);
      assert.equal(seen[0]!.method, read.method);
      assert.equal(seen[0]!.url, read.target);
      assert.deepEqual(Object.fromEntries(read.fields.values), { ...seen[0]!.headers });
    }),
    { numRuns: 2_000 },
  );
  assert.ok(taken > 100, `only ${taken} heads were for the lane`);
});

test("fields that come again are not read again", () => {
  const text = "GET /a HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n";
  const first = readHead(text, text.indexOf("\r\n\r\n"), undefined);
  const next = "HEAD /b HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n";
  const second = readHead(next, next.indexOf("\r\n\r\n"), first?.fields);
  assert.equal(second?.fields, first?.fields);
  assert.equal(second?.target, "/b");
  const other = "GET /a HTTP/1.1\r\nHost: a\r\nAccept: c\r\n\r\n";
  assert.equal(readHead(other, other.indexOf("\r\n\r\n"), first?.fields)?.fields.values.get("accept"), "c");
});
