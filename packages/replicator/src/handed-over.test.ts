import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { Peers } from "@meridian/cluster";
import { isContentError } from "@meridian/oci";
import { createRpcServer } from "@meridian/rpc";
import { type Logger, type PeerIdentity, systemTimers as timers } from "@meridian/runtime";
import { collectionV1 } from "@meridian/wire";
import { HandedOverServices } from "./handed-over-services.ts";
import { HandedOverWork } from "./handed-over-work.ts";

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const { CollectionService } = collectionV1;

/** A lease that is held when the test says so. */
class TestDuty {
  held = false;
  holder: string | undefined;
  readonly #listeners = new Set<() => void>();

  onChanged(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  set(held: boolean): void {
    this.held = held;
    for (const listener of this.#listeners) listener();
  }
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `not within 10 s: ${condition}`);
    await timers.sleep(2);
  }
}

test("work is done while the lease is held: begun again after a failure, ended before anything else is begun", async () => {
  const duty = new TestDuty();
  let underWay = 0;
  let most = 0;
  let begun = 0;
  let fails = true;
  const start = async (): Promise<AsyncDisposable> => {
    begun += 1;
    if (fails) throw new Error("the disk is away");
    underWay += 1;
    most = Math.max(most, underWay);
    await timers.sleep(5);
    return {
      [Symbol.asyncDispose]: async () => {
        await timers.sleep(5);
        underWay -= 1;
      },
    };
  };
  const hurried = {
    ...timers,
    sleep: (ms: number, options?: { signal?: AbortSignal }) => timers.sleep(ms / 50, options),
  };
  const work = new HandedOverWork({ duty, start, timers: hurried, log });
  await work.settled();
  assert.equal(begun, 0, "it stands by");
  duty.set(true);
  await until(() => begun >= 2);
  fails = false;
  await until(() => work.current !== undefined);
  for (let round = 0; round < 5; round += 1) {
    duty.set(false);
    duty.set(true);
    duty.set(false);
    await until(() => work.current === undefined && underWay === 0);
    duty.set(true);
    await until(() => work.current !== undefined);
  }
  assert.equal(most, 1);
  await work[Symbol.asyncDispose]();
  assert.equal(underWay, 0);
});

test("whichever replicator is called, the one at work answers; a call that was passed on is not passed on again", async () => {
  const asked: string[] = [];
  const status = (name: string) => async () => {
    asked.push(name);
    return create(collectionV1.StatusResponseSchema, { site: name });
  };
  const other = createRpcServer({ log });
  other.register(CollectionService, { status: status("other"), control: async () => ({}) });
  const duty = new TestDuty();
  const peers = {
    topology: { site: "eu", process: "replicator-1" },
    process: (_site: string, process: string) => ({ site: "eu", process }),
    client: () => other.local(CollectionService),
  } as unknown as Peers;
  let impl:
    | { status(request: unknown, context: { signal: AbortSignal; peer?: PeerIdentity }): Promise<unknown> }
    | undefined;
  const rpc = {
    register(_service: unknown, given: unknown): void {
      impl = given as typeof impl;
    },
  };
  const services = new HandedOverServices({ rpc, peers, duty });
  services.offer(CollectionService, () => true);
  const { signal } = new AbortController();
  const request = create(collectionV1.StatusRequestSchema);
  const call = (peer?: PeerIdentity) => impl!.status(request, { signal, ...(peer && { peer }) });
  const refused = (error: unknown): boolean => isContentError(error, "unavailable");
  await assert.rejects(call(), refused, "nobody is known to be at work");
  duty.holder = "replicator-2";
  await call();
  await assert.rejects(call({ trustDomain: "c", site: "eu", service: "replicator" }), refused);
  services.register(CollectionService, { status: status("this"), control: async () => ({}) });
  await call();
  services.clear();
  duty.holder = "replicator-1";
  await assert.rejects(call(), refused, "it is not at work yet, or not any more");
  assert.deepEqual(asked, ["other", "this"]);
  await other[Symbol.asyncDispose]();
});
