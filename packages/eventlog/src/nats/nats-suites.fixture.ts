import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { eventLogContract } from "../contract.ts";
import { natsFaultCases } from "./nats-faults.fixture.ts";
import { type NatsBinary, NatsServer } from "./nats-server.fixture.ts";
import { newsCases } from "./news-cases.fixture.ts";
import { requestCases } from "./requests-cases.fixture.ts";

/** All suites on one version. A missing server is a skip, and a failure where everything is required. */
export function natsSuites(binary: NatsBinary): void {
  if ("missing" in binary) {
    const skip = process.env.MERIDIAN_REQUIRE === "all" ? false : binary.missing;
    test(`event log: ${binary.missing}`, { skip }, () => assert.fail(binary.missing));
    return;
  }
  const start = () => NatsServer.start(binary.path);
  eventLogContract(`nats-server ${binary.version}`, start, { shared: true, reconnects: true });
  describe(`faults of nats-server ${binary.version}`, () => natsFaultCases(start));
  describe(`news beside nats-server ${binary.version}`, () => newsCases(start));
  describe(`requests to nats-server ${binary.version}`, () => requestCases(start));
}
