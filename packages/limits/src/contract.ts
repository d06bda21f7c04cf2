import { describe } from "node:test";
import { bucketCases } from "./contract/bucket-cases.ts";
import { failureCases } from "./contract/failure-cases.ts";
import { leaseCases } from "./contract/lease-cases.ts";
import type { LimitBench } from "./contract/limit-bench.ts";
import { noteCases } from "./contract/note-cases.ts";

export type { LimitBench } from "./contract/limit-bench.ts";
export { needsRedis, RedisServer } from "./redis/redis-server.fixture.ts";

/** Registers the tests that every driver passes. `make` gives an empty store each time. */
export function limitStoreContract(name: string, make: () => Promise<LimitBench>, skip: string | false = false): void {
  describe(`limit store contract: ${name}`, { skip }, () => {
    describe("failures", () => failureCases(make));
    describe("buckets", () => bucketCases(make));
    describe("leases", () => leaseCases(make));
    describe("notes", () => noteCases(make));
  });
}
