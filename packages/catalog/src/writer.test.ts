import assert from "node:assert/strict";
import { test } from "node:test";
import type { EventLog, EventLogs } from "@meridian/eventlog";
import { createMemoryStore, type OrderedStore } from "@meridian/keyvalue";
import { ContentError } from "@meridian/oci";
import { systemTimers } from "@meridian/runtime";
import type { Catalog, Change } from "./catalog.ts";
import { digestFor, manifestOf } from "./simulated-site.ts";
import { openTestSite, until } from "./test-site.ts";

const REPOSITORY = "library/nginx";

function tag(name: string, manifest = "m1"): Change {
  const digest = digestFor(manifest);
  return { kind: "tag", repository: REPOSITORY, tag: name, digest, mediaType: "m", size: 100, who: "alice" };
}

function named(catalog: Catalog, name: string): string | undefined {
  return catalog.tag(REPOSITORY, name)?.digest;
}

test("a commit is shown when it is answered, with a token that its own view has reached", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const changes: Change[] = [
    { kind: "repository", repository: REPOSITORY, who: "alice" },
    { kind: "link", repository: REPOSITORY, digest: digestFor("l1"), size: 10 },
    { kind: "manifest", repository: REPOSITORY, digest: digestFor("m1"), value: manifestOf({ layers: ["l1", "l2"] }) },
    tag("latest"),
    { kind: "blob-at-node", digest: digestFor("l1"), node: "eu/blob-node-1", size: 10, state: "present" },
  ];
  const version = await catalog.commit(changes);
  assert.deepEqual(catalog.tag(REPOSITORY, "latest"), {
    digest: digestFor("m1"),
    mediaType: "m",
    size: 100,
    site: "eu",
  });
  assert.equal(catalog.manifest(REPOSITORY, digestFor("m1"))?.value?.references.length, 2);
  assert.equal(catalog.blob(REPOSITORY, digestFor("l2"))?.size, 10);
  assert.deepEqual(catalog.holders(digestFor("l1")), ["eu/blob-node-1"]);
  assert.deepEqual(catalog.repositories({}).items, [REPOSITORY]);
  await catalog.reached(version, AbortSignal.timeout(1_000));
  await catalog.reached(catalog.version(), AbortSignal.timeout(1_000));
  await catalog.commit([
    { kind: "blob-at-node", digest: digestFor("l1"), node: "eu/blob-node-1", size: 10, state: "absent" },
  ]);
  assert.deepEqual(catalog.holders(digestFor("l1")), []);
});

/** A store whose transactions take their time. */
function slow(store: OrderedStore, ms: number): OrderedStore {
  return {
    get: (key) => store.get(key),
    range: (range) => store.range(range),
    flushed: () => store.flushed(),
    clear: () => store.clear(),
    transaction: async (change) => {
      await systemTimers.sleep(ms);
      return store.transaction(change);
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

test("a commit waits for the slowest gateway's view", async () => {
  await using site = await openTestSite();
  const [a, b] = await Promise.all([
    site.open({ writer: "gateway-1", alone: false }),
    site.open({ writer: "gateway-2", alone: false, view: slow(createMemoryStore(), 50) }),
  ]);
  await until(() => a.ready && b.ready);
  for (let round = 0; round < 3; round++) {
    await a.commit([tag("latest", `a${round}`)]);
    assert.equal(named(b, "latest"), digestFor(`a${round}`));
  }
});

test("two catalogs on one log: what one answered the other shows, and neither loses a write of the other", async () => {
  await using site = await openTestSite();
  const [a, b] = await Promise.all([
    site.open({ writer: "gateway-1", alone: false }),
    site.open({ writer: "gateway-2", alone: false }),
  ]);
  await until(() => a.ready && b.ready);
  for (let round = 0; round < 20; round++) {
    await a.commit([tag("latest", `a${round}`)]);
    assert.equal(named(b, "latest"), digestFor(`a${round}`));
    await b.commit([tag("latest", `b${round}`)]);
    assert.equal(named(a, "latest"), digestFor(`b${round}`));
  }
  await Promise.all(Array.from({ length: 40 }, (_, index) => (index % 2 ? a : b).commit([tag("raced", `r${index}`)])));
  assert.equal(named(a, "raced"), named(b, "raced"));
});

test("of many racing If-None-Match exactly one wins, over two catalogs", async () => {
  await using site = await openTestSite();
  const [a, b] = await Promise.all([
    site.open({ writer: "gateway-1", alone: false }),
    site.open({ writer: "gateway-2", alone: false }),
  ]);
  await until(() => a.ready && b.ready);
  const answers = await Promise.allSettled(
    Array.from({ length: 24 }, (_, index) => {
      const manifest: Change = {
        kind: "manifest",
        repository: REPOSITORY,
        digest: digestFor(`m${index}`),
        value: manifestOf({}),
      };
      return (index % 2 ? a : b).commit([manifest, tag("first", `m${index}`)], { condition: { ifNoneMatch: "*" } });
    }),
  );
  const won = answers.flatMap(({ status }, index) => (status === "fulfilled" ? [index] : []));
  assert.equal(won.length, 1);
  assert.equal(named(a, "first"), digestFor(`m${won[0]}`));
  assert.equal(named(b, "first"), digestFor(`m${won[0]}`));
  for (const [index, answer] of answers.entries()) {
    if (answer.status === "rejected") {
      assert.equal((answer.reason as ContentError).kind, "precondition");
      assert.equal(a.manifest(REPOSITORY, digestFor(`m${index}`)), undefined, "a refused push left its manifest");
    }
  }
});

test("If-Match is exact for PUT and DELETE", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([tag("latest", "m1")]);
  const condition = { ifMatch: digestFor("m1") };
  await catalog.commit([tag("latest", "m2")], { condition });
  await assert.rejects(catalog.commit([tag("latest", "m3")], { condition }), { kind: "precondition" });
  const remove: Change = { kind: "delete-tag", repository: REPOSITORY, tag: "latest", who: "alice" };
  await assert.rejects(catalog.commit([remove], { condition }), { kind: "precondition" });
  await catalog.commit([remove], { condition: { ifMatch: digestFor("m2") } });
  assert.equal(named(catalog, "latest"), undefined);
  await assert.rejects(catalog.commit([remove]), { kind: "not-found" });
});

test("a history record follows each tag write, with what was there before", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([tag("latest", "m1")]);
  await catalog.commit([tag("latest", "m2")]);
  await catalog.commit([{ kind: "delete-tag", repository: REPOSITORY, tag: "latest", who: "bob" }]);
  const log = await site.logs.open("META_eu");
  let head = 0;
  const subjects: string[] = [];
  for await (const batch of log.tail(0, { signal: AbortSignal.timeout(5_000) })) {
    subjects.push(...batch.entries.map(({ subject }) => subject.split(".")[2] ?? ""));
    head = batch.head;
    if (subjects.filter((kind) => kind === "history").length === 3) break;
  }
  assert.ok(head > 0);
  assert.equal(subjects.filter((kind) => kind === "tag").length >= 1, true);
});

/** Logs without transactions, whose appends can be made to fail, before or after they took effect. */
function breakable(logs: EventLogs): { logs: EventLogs; mode: "work" | "fail-before" | "fail-after" | "away" } {
  const broken = { mode: "work" as "work" | "fail-before" | "fail-after" | "away" };
  const wrap = (log: EventLog): EventLog =>
    new Proxy(log, {
      get(target, property) {
        if (property === "appendAll") return undefined;
        if (property === "append") {
          return async (...args: Parameters<EventLog["append"]>) => {
            const away = new ContentError("unavailable", "the log went away");
            if (broken.mode === "fail-before") throw away;
            const sequence = await target.append(...args);
            if (broken.mode === "fail-after") throw away;
            return sequence;
          };
        }
        const value: unknown = Reflect.get(target, property, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  return Object.assign(broken, {
    logs: {
      open: async (...args: Parameters<EventLogs["open"]>) => wrap(await logs.open(...args)),
      streams: () => logs.streams(),
      renew: (...args: Parameters<EventLogs["renew"]>) => logs.renew(...args),
      drop: (stream: string) => logs.drop(stream),
      bulletin: logs.bulletin,
      probe: async () => {
        if (broken.mode === "away") throw new ContentError("unavailable", "the log is away");
        await logs.probe();
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    },
  });
}

for (const mode of ["fail-before", "fail-after"] as const) {
  test(`a write that the log lost (${mode}) is brought there from the outbox when the catalog opens again`, async () => {
    await using site = await openTestSite();
    const outbox = createMemoryStore();
    const broken = breakable(site.logs);
    {
      await using catalog = await site.open({ logs: broken.logs, outbox });
      await catalog.commit([tag("before")]);
      broken.mode = mode;
      await assert.rejects(catalog.commit([tag("latest", "m2")]), { kind: "unavailable" });
    }
    const again = await site.open({ outbox });
    await until(() => named(again, "latest") === digestFor("m2"));
    await until(() => [...outbox.range({ start: "e ", end: "e!" })].length === 0);
    assert.equal(named(again, "before"), digestFor("m1"));
  });
}

test("a write that failed is brought to the log by the same process, once the log works", async () => {
  await using site = await openTestSite();
  const broken = breakable(site.logs);
  const catalog = await site.open({ logs: broken.logs });
  await catalog.commit([tag("before")]);
  broken.mode = "fail-before";
  await assert.rejects(catalog.commit([tag("latest", "m2")]), { kind: "unavailable" });
  assert.equal(named(catalog, "latest"), undefined);
  broken.mode = "work";
  await until(() => named(catalog, "latest") === digestFor("m2"));
});

test("a conditional write that never reached the log is not replayed over what was written since", async () => {
  await using site = await openTestSite();
  const outbox = createMemoryStore();
  const broken = breakable(site.logs);
  {
    // Its clock is ahead: by its reading alone the write would win over what comes after it.
    const ahead = { now: () => Date.now() + 1_500, monotonic: () => performance.now() };
    await using catalog = await site.open({ logs: broken.logs, outbox, clock: ahead });
    broken.mode = "fail-before";
    const condition = { ifNoneMatch: "*" } as const;
    await assert.rejects(catalog.commit([tag("latest", "m1")], { condition }), { kind: "unavailable" });
  }
  {
    await using other = await site.open({ writer: "other" });
    await other.commit([tag("latest", "m2")], { condition: { ifNoneMatch: "*" } });
  }
  const again = await site.open({ outbox });
  await until(() => [...outbox.range({ start: "e ", end: "e!" })].length === 0);
  assert.equal(named(again, "latest"), digestFor("m2"));
});

test("a log known to be away is refused before the outbox", async () => {
  await using site = await openTestSite();
  const broken = breakable(site.logs);
  broken.mode = "away";
  const outbox = createMemoryStore();
  const catalog = await site.open({ logs: broken.logs, outbox });
  await assert.rejects(catalog.commit([tag("latest")]), { kind: "unavailable", message: "the log is away" });
  assert.deepEqual([...outbox.range({ start: "e ", end: "e!" })], []);
});

test("where an acknowledgement is no sync, entries stay until a peer has them", async () => {
  await using site = await openTestSite();
  const outbox = createMemoryStore();
  const lazy: EventLogs = Object.create(site.logs, {
    open: {
      value: async (...args: Parameters<EventLogs["open"]>) =>
        new Proxy(await site.logs.open(...args), {
          get(target, property) {
            if (property === "durableAcks") return false;
            if (property === "appendAll") return undefined;
            const value: unknown = Reflect.get(target, property, target);
            return typeof value === "function" ? value.bind(target) : value;
          },
        }),
    },
    streams: { value: () => site.logs.streams() },
    probe: { value: () => site.logs.probe() },
    bulletin: { value: site.logs.bulletin },
  });
  const kept = (): number => [...outbox.range({ start: "e ", end: "e!" })].length;
  const catalog = await site.open({ logs: lazy, outbox });
  await catalog.commit([tag("latest")]);
  assert.equal(kept(), 1);
  const log = await site.logs.open("META_eu");
  const head = await log.head();
  await until(() => {
    catalog.reportCopied("us", { incarnation: head.incarnation, sequence: head.sequence + 10 });
    return kept() === 0;
  });
});

test("an aborted commit is given up for its caller, not for the log", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const stop = new AbortController();
  const answer = catalog.commit([tag("latest", "m2")], { signal: stop.signal });
  stop.abort();
  await assert.rejects(answer, { kind: "unavailable" });
});

test("a log with transactions takes a commit whole, without the outbox, also when another writer was first", async () => {
  await using site = await openTestSite();
  const outbox = createMemoryStore();
  let kept = 0;
  const counted: OrderedStore = {
    get: (key) => outbox.get(key),
    range: (range) => outbox.range(range),
    flushed: () => outbox.flushed(),
    clear: () => outbox.clear(),
    transaction: (change) =>
      outbox.transaction((tx) => {
        // Entries only: a slow machine moves the clock's high-water meanwhile.
        const put = (key: string, value: Uint8Array): void => {
          kept += Number(key.startsWith("e "));
          tx.put(key, value);
        };
        return change({ get: tx.get, range: tx.range, delete: tx.delete, put });
      }),
    [Symbol.asyncDispose]: () => outbox[Symbol.asyncDispose](),
  };
  const catalog = await site.open({ outbox: counted });
  const other = await site.open({ writer: "other" });
  const names = Array.from({ length: 20 }, (_, index) => `m${index}`);
  await Promise.all(
    names.flatMap((name, index) =>
      [catalog, other].map((writer) => writer.commit([tag("latest", name), tag(`own-${name}`, `m${index + 1}`)])),
    ),
  );
  await until(() => named(catalog, "latest") === named(other, "latest"));
  for (const [index, name] of names.entries()) assert.equal(named(other, `own-${name}`), digestFor(`m${index + 1}`));
  assert.equal(kept, 0);
});
