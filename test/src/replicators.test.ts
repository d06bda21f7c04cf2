import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { makeImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { command, complete } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

const HAND_OVER_MS = 5_000;
const NAMES = ["replicator-1", "replicator-2"];

describe("two replicators at a site", { skip: needs("nats-server") }, () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--nats", "--sites", "eu,us", "--replicators", "2");
  });
  after(() => cluster?.[Symbol.asyncDispose]());

  /** The one of us's replicators that said last that it does the work, by their logs. */
  function atWork(): string {
    const times = NAMES.map((name) => {
      const lines = readFileSync(join(cluster.home, `sites/us/${name}.log`), "utf8").split("\n");
      return lines.filter((line) => line.includes("does the work of its site")).length === 0
        ? ""
        : (/"time":"?([^",]+)/.exec(lines.findLast((line) => line.includes("does the work of its site")) ?? "")?.[1] ??
            "");
    });
    return times[0]! > times[1]! ? NAMES[0]! : NAMES[1]!;
  }

  test("one of them copies; killed, the other goes on within five seconds, with records, blobs and the collection", async (context) => {
    const handOvers: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      const working = await until("one is at work", () => atWork());
      await command(cluster, { command: "process-kill", process: `us/${working}`, hold: true });
      const killed = performance.now();
      const image = makeImage(100_000);
      await cluster.at("eu").push("handed/over", `v${round}`, image);
      await until("the record is at us", async () => {
        const answer = await cluster.at("us").call(`/v2/handed/over/manifests/v${round}`);
        return answer.status === 200;
      });
      handOvers.push(performance.now() - killed);
      await complete(cluster, "us", "handed/over", `v${round}`, ["us"]);
      assert.notEqual(atWork(), working);
      const collection = await until("the collection answers", async () => {
        const answer = await cluster.at("us").call("/v2/_meridian/collection");
        return answer.status === 200 && answer;
      });
      assert.notEqual((JSON.parse(collection.body.toString()) as { state: string }).state, "standby");
      await command(cluster, { command: "process-start", process: `us/${working}` });
      await until("it is back", async () => (await fetch(adminOf(working)).catch(() => undefined))?.status === 200);
    }
    context.diagnostic(`hand-overs: ${handOvers.map((ms) => `${ms.toFixed(0)} ms`).join(", ")}`);
    for (const ms of handOvers) assert.ok(ms <= HAND_OVER_MS, `${handOvers}`);
  });

  function adminOf(name: string): string {
    const config = readFileSync(join(cluster.home, `sites/us/${name}.yaml`), "utf8");
    return `http://127.0.0.1:${/adminPort: (\d+)/.exec(config)?.[1]}/livez`;
  }
});
