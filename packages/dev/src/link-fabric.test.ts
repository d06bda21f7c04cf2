import assert from "node:assert/strict";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { createLinkFabric, type LinkFabric, splitPair } from "./link-fabric.ts";

describe("link fabric", () => {
  let server: Server;
  let fabric: LinkFabric;
  let address: string;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    // Sends back what it gets.
    server = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => {});
      socket.pipe(socket);
    });
    await new Promise<void>((done) => server.listen({ host: "127.0.0.1", port: 0 }, done));
    const bound = server.address();
    assert.ok(typeof bound === "object" && bound !== null);
    fabric = createLinkFabric({ sites: ["eu", "us", "ap"], host: "127.0.0.1", rttMs: {} });
    address = await fabric.proxy("eu", "us", `127.0.0.1:${bound.port}`);
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await fabric[Symbol.asyncDispose]();
    await new Promise((done) => server.close(done));
  });

  const dial = (): Socket => {
    const socket = connect({ host: "127.0.0.1", port: Number(address.split(":")[1]) });
    socket.on("error", () => {});
    sockets.push(socket);
    return socket;
  };
  const echo = async (socket: Socket, bytes: number): Promise<number> => {
    const started = performance.now();
    let received = 0;
    const done = new Promise<void>((resolve) => {
      const take = (chunk: Buffer): void => {
        received += chunk.length;
        if (received < bytes) return;
        socket.off("data", take);
        resolve();
      };
      socket.on("data", take);
    });
    socket.write(Buffer.alloc(bytes, 7));
    await done;
    return performance.now() - started;
  };
  const link = (from: string, to: string) => fabric.report().find((one) => one.from === from && one.to === to);

  test("bytes pass and are counted by direction", async () => {
    await echo(dial(), 100_000);
    assert.equal(link("eu", "us")?.bytes, 100_000);
    assert.equal(link("us", "eu")?.bytes, 100_000);
    assert.equal(link("eu", "ap")?.bytes, 0);
  });

  test("a delay is the round trip, half of it each way", async () => {
    const socket = dial();
    await echo(socket, 1);
    fabric.delay("us-eu", 80);
    const elapsed = await echo(socket, 1);
    assert.ok(elapsed >= 78 && elapsed < 400, `${elapsed} ms`);
    assert.equal(link("eu", "us")?.rttMs, 80);
  });

  test("delayed bytes are pipelined, not sent one round trip after another", async () => {
    fabric.delay("eu-us", 100);
    const elapsed = await echo(dial(), 4_000_000);
    assert.ok(elapsed < 1_000, `${elapsed} ms`);
  });

  test("a limit holds the rate", async () => {
    const socket = dial();
    await echo(socket, 1);
    fabric.limit("eu-us", 1_000_000);
    const elapsed = await echo(socket, 300_000);
    assert.ok(elapsed >= 280 && elapsed < 2_000, `${elapsed} ms`);
    fabric.limit("eu-us", undefined);
    assert.ok((await echo(socket, 300_000)) < 280);
  });

  test("a cut holds bytes silently and keeps sockets; what was held passes when it heals", async () => {
    const socket = dial();
    await echo(socket, 10);
    fabric.cut("eu-us", {});
    let arrived = false;
    const pending = echo(socket, 1_000).then(() => {
      arrived = true;
    });
    await new Promise((done) => setTimeout(done, 100));
    assert.equal(arrived, false);
    assert.equal(socket.destroyed, false);
    assert.equal(link("eu", "us")?.state, "cut");
    fabric.heal("us-eu", {});
    await pending;
  });

  test("a one-way cut lets the other direction pass", async () => {
    const socket = dial();
    await echo(socket, 10);
    const before = link("us", "eu")?.bytes;
    fabric.cut("us-eu", { oneWay: true });
    void echo(socket, 5_000);
    while (link("eu", "us")?.bytes !== 5_010) await new Promise((done) => setTimeout(done, 5));
    assert.equal(link("us", "eu")?.bytes, before);
    fabric.heal("us-eu", {});
  });

  test("a cut with reset closes the sockets", async () => {
    const socket = dial();
    await echo(socket, 10);
    const closed = new Promise((done) => socket.once("close", done));
    fabric.cut("eu-us", { reset: true });
    await closed;
  });

  test("site names with dashes are split where two sites fit", () => {
    assert.deepEqual(splitPair("eu-west-us-east", ["eu-west", "us-east"]), ["eu-west", "us-east"]);
    assert.throws(() => splitPair("eu-mars", ["eu", "us"]), /name two of eu, us as A-B/);
  });
});
