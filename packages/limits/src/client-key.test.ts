import assert from "node:assert/strict";
import { test } from "node:test";
import { clientKey } from "./client-key.ts";

test("an IPv4 address counts for itself, an IPv6 address for its network of 64 bits", () => {
  const keys: Record<string, string> = {
    "192.0.2.1": "192.0.2.1",
    "::ffff:192.0.2.1": "192.0.2.1",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:DB8:01:002::9": "2001:db8:1:2::/64",
    "2001:db8::1": "2001:db8:0:0::/64",
    "2001:db8::2:3:4:5:6": "2001:db8:0:2::/64",
    "fe80::1%eth0": "fe80:0:0:0::/64",
    "::1": "0:0:0:0::/64",
    "": "",
    unknown: "unknown",
  };
  for (const [address, key] of Object.entries(keys)) assert.equal(clientKey(address), key, address);
});
