import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createClientOrigin } from "./client-origin.ts";
import type { Exchange } from "./exchange.ts";

function request(peerAddress: string, headers: Record<string, string>, encrypted = false): Exchange {
  return { peerAddress, encrypted, host: headers.host, header: (name: string) => headers[name] } as unknown as Exchange;
}

const origin = createClientOrigin({ trustedProxies: ["10.0.0.0/8", "::1"], fallbackHost: () => "127.0.0.1:5001" });

describe("the origin that a client used", () => {
  const cases: ReadonlyArray<readonly [string, Exchange, string]> = [
    ["is the Host it sent", request("127.0.0.1", { host: "localhost:5001" }), "http://localhost:5001"],
    ["is https over TLS", request("127.0.0.1", { host: "r.example" }, true), "https://r.example"],
    ["may be an IPv6 host", request("::2", { host: "[::1]:5001" }), "http://[::1]:5001"],
    ["falls back when Host is missing", request("127.0.0.1", {}), "http://127.0.0.1:5001"],
    ["falls back when Host is malformed", request("127.0.0.1", { host: 'a"b' }), "http://127.0.0.1:5001"],
    [
      "ignores a stranger's X-Forwarded-Host",
      request("192.0.2.1", { host: "r", "x-forwarded-host": "evil" }),
      "http://r",
    ],
    [
      "believes a trusted proxy",
      request("::ffff:10.1.2.3", { host: "inner", "x-forwarded-host": "r.example", "x-forwarded-proto": "https" }),
      "https://r.example",
    ],
  ];
  for (const [name, exchange, expected] of cases) test(name, () => assert.equal(origin.origin(exchange), expected));
});

describe("a client's address", () => {
  const cases: ReadonlyArray<readonly [string, Exchange, string]> = [
    ["is the socket's", request("192.0.2.1", { "x-forwarded-for": "198.51.100.7" }), "192.0.2.1"],
    ["is what a trusted proxy says", request("10.0.0.1", { "x-forwarded-for": "198.51.100.7" }), "198.51.100.7"],
    [
      "is the last hop that is no trusted proxy",
      request("10.0.0.1", { "x-forwarded-for": "6.6.6.6, 198.51.100.7, 10.0.0.2" }),
      "198.51.100.7",
    ],
    ["is the proxy's when the header is rubbish", request("10.0.0.1", { "x-forwarded-for": "<script>" }), "10.0.0.1"],
    ["is unmapped", request("::ffff:192.0.2.1", {}), "192.0.2.1"],
    ["has no zone", request("fe80::1%eth0", {}), "fe80::1"],
    ["has none of a proxy's either", request("10.0.0.1", { "x-forwarded-for": "2001:db8::1%zz0-" }), "2001:db8::1"],
  ];
  for (const [name, exchange, expected] of cases) test(name, () => assert.equal(origin.address(exchange), expected));
});

test("a trusted proxy that is no address is refused", () => {
  assert.throws(() => createClientOrigin({ trustedProxies: ["10.0.0.0/40"], fallbackHost: () => "x" }), /CIDR/);
});
