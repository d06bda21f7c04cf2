import assert from "node:assert/strict";
import { test } from "node:test";
import { createMemoryStore } from "@meridian/keyvalue";
import { ContentError } from "@meridian/oci";
import type { Change } from "./catalog.ts";
import { type Collectable, collectableOf } from "./collectable.ts";
import { type AskMembers, confirmUnneeded, type NeedAnswer, needOf } from "./confirm.ts";
import { Pins } from "./pins.ts";
import {
  createManualClock,
  createRecordingLogger,
  digestFor,
  type ManualClock,
  manifestOf,
  SimulatedSite,
} from "./simulated-site.ts";
import { formatVersion, parseVersion } from "./version-token.ts";

/**
 * A random check of collection over the real records, views, pins and questions: one blob, manifests that need it, three
 * sites with partial tails of compacted logs, skewed clocks, members that cannot be asked, and every other thing
 * happening between any two steps of a collector. It goes on where `collection.py` of the design's models ends.
 */
const REPOSITORY = "app";
const BLOB = digestFor("blob");
const SITES = ["eu", "us", "ap"] as const;
/** Of links and of pins, in steps of the clock. */
const GRACE = 8;
const INCARNATION = { created: 1n, id: "1" };
/** `COLLECTION_SEEDS=40000 pnpm test catalog/src/collection` tries more. */
const SEEDS = Number(process.env.COLLECTION_SEEDS ?? 150);

/** What is left out, to see that it is missed. */
type Mutant = "no-question" | "one-round" | "no-pins" | "no-drain";

class Broken extends Error {
  override readonly name = "Broken";
}

/** Numbers that look random, the same for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

class Site {
  readonly sim: SimulatedSite;
  readonly pins: Pins;
  readonly collectable: Collectable;
  bytes: "none" | "here" | "draining" = "none";
  loneSince: number | undefined;
  job: Job | undefined;

  constructor(name: string, clock: ManualClock, skewMs: number) {
    this.sim = new SimulatedSite(name, { clock, skewMs });
    this.pins = new Pins({ store: createMemoryStore(), forMs: GRACE, clock, log: createRecordingLogger() });
    this.collectable = collectableOf(this.sim.view.store);
  }

  get links(): boolean {
    return this.sim.reader.blob(REPOSITORY, BLOB) !== undefined;
  }

  pin(): void {
    this.pins.pin({ repository: REPOSITORY, digest: BLOB, size: 10 });
  }

  /** What is pinned stays linked. */
  async keep(mutant: Mutant | undefined): Promise<void> {
    if (mutant === "no-pins" || this.links || this.pins.get(REPOSITORY, BLOB) === undefined) return;
    await this.sim.commit([{ kind: "link", repository: REPOSITORY, digest: BLOB, size: 10 }]);
  }

  version(): string {
    const read = SITES.map((name) => [name, name === this.sim.name ? this.sim.head : this.sim.hasRead(name)] as const);
    return formatVersion(new Map(read.map(([name, sequence]) => [name, { incarnation: INCARNATION, sequence }])));
  }
}

/** Work that stops between its steps, so that other things happen there. */
class Job {
  readonly done: Promise<void>;
  #resume: () => void = () => {};
  #stopped = Promise.withResolvers<void>();
  over = false;

  constructor(work: (pause: () => Promise<void>) => Promise<void>) {
    const pause = (): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resume = resolve;
      this.#stopped.resolve();
      return promise;
    };
    this.done = work(pause).finally(() => {
      this.over = true;
    });
    this.done.catch(() => {});
  }

  /** Until the next pause, or the end. */
  async advance(): Promise<void> {
    this.#stopped = Promise.withResolvers();
    this.#resume();
    await Promise.race([this.#stopped.promise, this.done.catch(() => {})]);
  }
}

class World {
  readonly clock = createManualClock();
  readonly sites: readonly Site[];
  readonly random: () => number;
  readonly mutant: Mutant | undefined;
  /** Sites whose clients were told that the blob is there, and until when that holds. */
  readonly promised: { site: Site; until: number }[] = [];
  /** How often a member cannot be asked. */
  unreachable = 0.05;
  puts = 0;
  removals = 0;

  constructor(seed: number, mutant: Mutant | undefined) {
    this.random = randomFrom(seed);
    this.mutant = mutant;
    this.sites = SITES.map((name) => new Site(name, this.clock, this.pick([0, 0, 3, -3])));
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random() * from.length)]!;
  }

  get isAnywhere(): boolean {
    return this.sites.some(({ bytes }) => bytes !== "none");
  }

  async step(): Promise<void> {
    this.clock.advance(1);
    const site = this.pick(this.sites);
    const roll = this.random();
    if (roll < 0.02) await this.upload(site);
    else if (roll < 0.08) this.head(site);
    else if (roll < 0.12) await this.putManifest();
    else if (roll < 0.22) await this.deleteManifest(site);
    else if (roll < 0.34) await this.collectLink(site);
    else if (roll < 0.7) await this.advanceJob(this.sites.find(({ job }) => job?.over === false) ?? site);
    else if (roll < 0.73) this.copy(site);
    else await this.tail(site, this.pick(this.sites), 1 + Math.floor(this.random() * 4));
    for (const one of this.sites) this.check(one);
  }

  async upload(site: Site): Promise<void> {
    site.pin();
    site.bytes = "here";
    this.promise(site);
    await site.sim.commit([{ kind: "link", repository: REPOSITORY, digest: BLOB, size: 10 }]);
  }

  head(site: Site): void {
    if (!site.links || !this.isAnywhere) return;
    site.pin();
    this.promise(site);
  }

  promise(site: Site): void {
    this.promised.push({ site, until: this.clock.now() + GRACE });
  }

  async putManifest(): Promise<void> {
    if (this.promised.length === 0) return;
    const { site, until } = this.pick(this.promised);
    if (this.clock.now() >= until) return;
    if (!site.links) throw new Broken("a promised blob was refused");
    site.pin();
    const name = `m${Math.floor(this.random() * 3)}`;
    const digest = digestFor(name);
    const manifest: Change = {
      kind: "manifest",
      repository: REPOSITORY,
      digest,
      value: manifestOf({ layers: ["blob"] }),
    };
    const tag: Change = { kind: "tag", repository: REPOSITORY, tag: name, digest, mediaType: "m", size: 1, who: "a" };
    await site.sim.commit(this.random() < 0.5 ? [manifest, tag] : [manifest]);
    if (!this.isAnywhere) throw new Broken("a manifest was taken whose blob is nowhere");
    this.puts += 1;
  }

  async deleteManifest(site: Site): Promise<void> {
    const names = ["m0", "m1", "m2"].map(digestFor);
    const digest = names.find((name) => site.sim.reader.manifest(REPOSITORY, name) !== undefined);
    if (digest === undefined) return;
    await site.sim.commit([{ kind: "delete-manifest", repository: REPOSITORY, digest, who: "a" }]);
    await site.keep(this.mutant);
  }

  /** The site of a link's put deletes it when nothing has needed it for the grace. */
  async collectLink(site: Site): Promise<void> {
    if (!site.collectable.isLone(REPOSITORY, BLOB)) {
      site.loneSince = undefined;
      return;
    }
    site.loneSince ??= this.clock.now();
    const [link] = site.collectable.loneLinks({ rows: 10 }).items;
    const ripe = this.clock.now() - site.loneSince >= GRACE && link?.site === site.sim.name;
    if (!ripe || site.pins.has(BLOB)) return;
    await site.sim.commit([{ kind: "collect-link", repository: REPOSITORY, digest: BLOB }]);
  }

  copy(site: Site): void {
    if (site.links && this.isAnywhere) site.bytes = "here";
  }

  async tail(site: Site, other: Site, count: number): Promise<void> {
    if (site === other) return;
    await site.sim.tail(other.sim, { count });
    await site.keep(this.mutant);
  }

  async advanceJob(site: Site): Promise<void> {
    if (site.job === undefined || site.job.over) {
      if (site.bytes !== "here" || this.isNamed(site)) return;
      site.job = new Job((pause) => this.collect(site, pause));
    } else await site.job.advance();
  }

  isNamed(site: Site): boolean {
    return site.sim.reader.repositoriesOf(BLOB, 1).length > 0;
  }

  /** As a site removes its own copy, with a pause wherever it waits for anything. */
  async collect(site: Site, pause: () => Promise<void>): Promise<void> {
    await pause();
    if (this.isNamed(site)) return;
    const ask: AskMembers = (questions, version) => this.ask(questions, version, pause);
    const free = await this.confirm(site, ask).catch((error: unknown) => {
      if (error instanceof ContentError) return false;
      throw error;
    });
    if (!free || site.bytes !== "here") return;
    site.bytes = "draining";
    await pause();
    if (this.isNamed(site)) {
      if (site.bytes === "draining") site.bytes = "here";
      return;
    }
    await pause();
    if (site.bytes !== "draining" && this.mutant !== "no-drain") return;
    site.bytes = "none";
    this.removals += 1;
  }

  async confirm(site: Site, ask: AskMembers): Promise<boolean> {
    const questions = [{ digest: BLOB }];
    const version = site.version();
    if (this.mutant === "no-question") return true;
    if (this.mutant === "one-round")
      return [...(await ask(questions, version)).values()].every(({ needed }) => needed[0] === false);
    return (await confirmUnneeded(questions, { version, ask }))[0] === true;
  }

  /** The members in turn, other things happening in between. */
  async ask(
    questions: Parameters<AskMembers>[0],
    version: string,
    pause: () => Promise<void>,
  ): Promise<Map<string, NeedAnswer>> {
    const answers = new Map<string, NeedAnswer>();
    for (const member of this.sites) {
      await pause();
      if (this.random() < this.unreachable) throw new ContentError("unavailable", "a member that cannot be asked");
      await this.foldUpTo(member, version);
      const pins = { isPinned: () => member.pins.has(BLOB) };
      const needed = questions.map((question) => needOf(question, { reader: member.sim.reader, pins }).needed);
      answers.set(member.sim.name, { needed, version: member.version(), instances: ["1"] });
    }
    return answers;
  }

  /** The member folds what the asker holds. */
  async foldUpTo(member: Site, version: string): Promise<void> {
    for (const [name, { sequence }] of parseVersion(version)) {
      const other = this.sites.find(({ sim }) => sim.name === name)!;
      if (other !== member && member.sim.hasRead(name) < sequence) await member.sim.tail(other.sim, { upTo: sequence });
    }
    await member.keep(this.mutant);
  }

  check({ sim }: Site): void {
    if (sim.reader.referencedBy(REPOSITORY, BLOB).length > 0 && !this.isAnywhere)
      throw new Broken(`a manifest is visible at ${sim.name} whose blob is nowhere`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { sim, pins } of this.sites) {
      sim.view[Symbol.dispose]();
      await pins[Symbol.asyncDispose]();
    }
  }
}

interface Run {
  readonly puts: number;
  readonly removals: number;
}

async function run(seed: number, mutant?: Mutant): Promise<Run> {
  await using world = new World(seed, mutant);
  const steps = 60 + Math.floor(world.random() * 200);
  for (let step = 0; step < steps; step++) {
    try {
      await world.step();
    } catch (error) {
      if (error instanceof Broken) error.message += ` (seed ${seed}, step ${step})`;
      throw error;
    }
  }
  return { puts: world.puts, removals: world.removals };
}

test("nothing that any site still shows, or told a client of, is ever removed", async () => {
  const total = { puts: 0, removals: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { puts, removals } = await run(seed);
    total.puts += puts;
    total.removals += removals;
  }
  assert.ok(total.puts > SEEDS / 5 && total.removals > SEEDS / 10, JSON.stringify(total));
});

/** What the first seed says that finds what the mutant breaks. */
async function firstBroken(mutant: Mutant): Promise<string> {
  for (let seed = 1; seed <= 2_000; seed++) {
    try {
      await run(seed, mutant);
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      return error.message;
    }
  }
  return "nothing";
}

test("without the question to the members it finds the loss", async () => {
  assert.match(await firstBroken("no-question"), /nowhere/);
});

test("without pins that link again it finds the broken promise", async () => {
  assert.match(await firstBroken("no-pins"), /refused|nowhere/);
});

/** eu holds the bytes of a blob that nobody needs any more. */
async function unneededAtEu(mutant: Mutant | undefined): Promise<World> {
  const world = new World(1, mutant);
  world.unreachable = 0;
  const [eu] = world.sites;
  await world.upload(eu!);
  await world.collectLink(eu!);
  world.clock.advance(2 * GRACE);
  await world.collectLink(eu!);
  assert.equal(eu!.links, false);
  return world;
}

const link: Change = { kind: "link", repository: REPOSITORY, digest: BLOB, size: 10 };

/** Until the collector of the site is about to take its next step of that kind, or is done. */
async function advance(world: World, site: Site, times: number): Promise<void> {
  for (let time = 0; time < times; time++) await world.advanceJob(site);
}

test("a link that a member shows and deletes between two answers keeps nobody's promise: one round is not enough", async () => {
  for (const mutant of ["one-round", undefined] as const) {
    await using world = await unneededAtEu(mutant);
    const [eu, us, ap] = world.sites as [Site, Site, Site];
    // A mount at ap, whose pin has ended: nobody else has heard of it.
    await ap.sim.commit([link]);
    await world.collectLink(ap);
    // eu begins; eu and us say that they need nothing.
    await advance(world, eu, 4);
    // Then us hears of the link, and tells a client.
    await world.tail(us, ap, 10);
    world.head(us);
    world.clock.advance(GRACE);
    us.pin();
    // ap deletes its link, and answers.
    await world.collectLink(ap);
    assert.equal(ap.links, false);
    await advance(world, eu, 12);
    assert.equal(eu.bytes, mutant === undefined ? "here" : "none");
    // us still owes its client the blob.
    await world.tail(us, ap, 10);
    assert.equal(us.links, true);
  }
});

test("what is stored anew after the answers stays: without the drain it is lost", async () => {
  for (const mutant of ["no-drain", undefined] as const) {
    await using world = await unneededAtEu(mutant);
    const [eu] = world.sites as [Site, Site, Site];
    for (let step = 0; step < 20 && eu.bytes !== "draining"; step++) await world.advanceJob(eu);
    assert.equal(eu.bytes, "draining");
    await world.advanceJob(eu);
    await world.upload(eu);
    await world.advanceJob(eu);
    assert.equal(eu.bytes, mutant === undefined ? "here" : "none");
  }
});

test("a member that cannot be asked keeps everything where it is", async () => {
  await using world = await unneededAtEu(undefined);
  world.unreachable = 1;
  const [eu] = world.sites as [Site, Site, Site];
  await advance(world, eu, 20);
  assert.equal(eu.bytes, "here");
  world.unreachable = 0;
  await advance(world, eu, 20);
  assert.equal(eu.bytes, "none");
});
