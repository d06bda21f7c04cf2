import { describe } from "node:test";
import { appendCases } from "./contract/append-cases.ts";
import { cursorCases } from "./contract/cursor-cases.ts";
import { leaseCases } from "./contract/lease-cases.ts";
import type { LogCapabilities, LogServer } from "./contract/log-server.ts";
import { prefixCases } from "./contract/prefix-cases.ts";
import { storeLossCases } from "./contract/store-loss-cases.ts";
import { streamCases } from "./contract/stream-cases.ts";
import { tailCases } from "./contract/tail-cases.ts";

export type { LogCapabilities, LogServer } from "./contract/log-server.ts";

/**
 * Registers the tests that every driver passes. `make` starts an empty server; each group of tests uses one of its own.
 * What a driver cannot do by its nature is declared in `capabilities`.
 */
export function eventLogContract(name: string, make: () => Promise<LogServer>, capabilities: LogCapabilities): void {
  describe(`event log contract: ${name}`, () => {
    describe("append", () => appendCases(make, capabilities));
    describe("tail", () => tailCases(make, capabilities));
    describe("cursors", () => cursorCases(make));
    describe("reading below a prefix", () => prefixCases(make));
    describe("a store that lost its tail", () => storeLossCases(make));
    describe("leases", () => leaseCases(make));
    describe("streams and bulletin", () => streamCases(make, capabilities));
  });
}
