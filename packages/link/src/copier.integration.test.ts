import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { findNatsServer, NatsServer } from "./nats-server.fixture.ts";
import { copyStream, ownStream } from "./stream-names.ts";
import { entriesOf, hurried, TestSite, until } from "./test-site.fixture.ts";

const binary = findNatsServer();
const missing = "no nats-server on PATH (or MERIDIAN_NATS_SERVER)";

/** Whether the copy holds what the origin holds now, entry by entry. */
async function same(origin: TestSite, reader: TestSite): Promise<boolean> {
  const texts = async (site: TestSite, stream: string): Promise<string[]> =>
    (await entriesOf(await site.logs.open(stream))).map(
      ({ sequence, subject, payload, origin: place }) =>
        `${place?.sequence ?? sequence} ${subject} ${Buffer.from(payload).toString("hex")}`,
    );
  const [own, copy] = await Promise.all([
    texts(origin, ownStream(origin.name)).catch(() => ["the origin's log is away"]),
    texts(reader, copyStream(origin.name)).catch(() => []),
  ]);
  return own.join("\n") === copy.join("\n");
}

async function appendMany(site: TestSite, round: string): Promise<void> {
  await Promise.all(Array.from({ length: 400 }, (_, index) => site.append(`k${index % 150}`, `${round}.${index}`)));
}

if (binary === undefined) {
  test(missing, { skip: process.env.MERIDIAN_REQUIRE === "all" ? false : missing }, () => assert.fail(missing));
} else {
  describe("links between log drivers", () => {
    for (const [originOn, readerOn] of [
      ["nats", "embedded"],
      ["embedded", "nats"],
      ["nats", "nats"],
    ] as const) {
      test(`from ${originOn} to ${readerOn}, through a kill of the log server`, async () => {
        await using open = new AsyncDisposableStack();
        const start = async (name: string, driver: string) => {
          const nats = driver === "nats" ? open.use(await NatsServer.start(binary)) : undefined;
          return { nats, site: open.use(await TestSite.start(name, hurried(5), nats?.url)) };
        };
        const us = await start("us", originOn);
        const eu = await start("eu", readerOn);
        const copier = open.use(eu.site.copier("us", { client: () => us.site.client() }));
        await appendMany(us.site, "first");
        await until(() => same(us.site, eu.site), "the first round is copied");
        // Whichever has a server loses it while entries are on their way.
        const server = eu.nats ?? us.nats!;
        const appending = appendMany(us.site, "second").catch(() => {});
        await server.kill();
        await appending;
        await server.run();
        await until(
          () =>
            appendMany(us.site, "third").then(
              () => true,
              () => false,
            ),
          "the origin takes writes again",
        );
        await until(() => same(us.site, eu.site), "the copy equals the origin");
        assert.equal(copier.status().quarantined, 0);
      });
    }
  });
}
