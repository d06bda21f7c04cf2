import assert from "node:assert/strict";
import { test } from "node:test";
import { createManualTime } from "@meridian/runtime";
import { connect } from "@nats-io/transport-node";
import { useServer } from "../contract/log-server.ts";
import { bytes, text, within } from "../contract/waiting.ts";
import type { NatsServer } from "./nats-server.fixture.ts";
import { Requests } from "./requests.ts";

/** How requests that share a subscription come to their ends. */
export function requestCases(start: () => Promise<NatsServer>): void {
  const used = useServer(start) as { readonly server: NatsServer };

  test("each request gets its own answer, or learns that nobody listens, that none came in time, or of the end", async (context) => {
    const nc = await connect({ servers: used.server.url });
    context.after(() => nc.close());
    const { timers, ...time } = createManualTime(1_800_000_000_000);
    const requests = new Requests(nc, timers);
    const asked = Promise.withResolvers<void>();
    nc.subscribe("echo", { callback: (_, message) => void message.respond(message.data) });
    nc.subscribe("silent", { callback: () => asked.resolve() });
    const answers = await Promise.all(["a", "b", "c"].map((value) => requests.request("echo", bytes(value))));
    assert.deepEqual(
      answers.map(({ data }) => text(data)),
      ["a", "b", "c"],
    );
    await assert.rejects(within("the refusal", requests.request("nobody", bytes("d"))), /is not there/);

    const late = assert.rejects(within("the timeout", requests.request("silent", bytes("e"))), /no answer within/);
    await asked.promise;
    await time.advance(10_000);
    await late;

    const cut = assert.rejects(within("the end", requests.request("silent", bytes("f"))), /given up/);
    requests.fail(new Error("given up"));
    await cut;
  });
}
