import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import { type Change, fromWireDigest, parseVersion, type TagCondition, toWireDigest } from "@meridian/catalog";
import { ContentError, type Digest, digestOf, isContentError } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { Network } from "./network.ts";
import { Oracle, registerIn } from "./oracle.ts";
import { type RunningSite, Site } from "./site.ts";
import { type Step, stepsOf } from "./steps.ts";
import { World } from "./world.ts";

/** What a run did. */
export interface RunReport {
  readonly writes: number;
  readonly answered: number;
  readonly deaths: number;
  /** Logs, ends of logs and whole disks that were lost. */
  readonly losses: number;
  /** What the sites' own logs say that they have lived through: three, one more for each that was set back. */
  readonly lives: number;
  readonly events: number;
  /** Milliseconds of simulated time. */
  readonly simulatedMs: number;
  /** The registers of every site at the end, to compare runs. */
  readonly fingerprint: string;
}

const NAMES = ["eu", "us", "ap"];
const QUIET_WITHIN_MS = 240_000;

/** Runs a seed's steps, or the ones given instead; heals everything, and rejects with what promise was broken. */
export async function simulate(seed: number, steps: readonly Step[] = stepsOf(seed)): Promise<RunReport> {
  const run = new Run(seed);
  await run.go(steps);
  return run.report();
}

class Run {
  readonly #world: World;
  readonly #network: Network;
  readonly #oracle = new Oracle();
  readonly #sites: readonly Site[];
  readonly #failures: unknown[] = [];
  readonly #tokens = new Set<string>();
  readonly #versions = new Map<object, string>();
  #deaths = 0;
  #losses = 0;
  readonly #setBack = new Set<string>();
  /** Sites whose lost tail may have been written over before anybody knew. */
  readonly #refilled = new Set<string>();
  #healing = false;

  constructor(seed: number) {
    this.#world = new World(seed);
    this.#network = new Network(this.#world, NAMES);
    const options = { world: this.#world, network: this.#network, sites: NAMES, watcher: this.#oracle };
    this.#sites = NAMES.map((name) => new Site(name, options));
  }

  report(): RunReport {
    const { writes, answered } = this.#oracle;
    return {
      writes,
      answered,
      deaths: this.#deaths,
      losses: this.#losses,
      lives: this.#sites.reduce((sum, { running }) => sum + running!.catalog.life.all().length, 0),
      events: this.#world.events,
      simulatedMs: this.#world.now,
      fingerprint: digestOf(this.#sites.map(({ running }) => rowsOf(running!).join("\n")).join("\n\n")),
    };
  }

  async go(steps: readonly Step[]): Promise<void> {
    for (const site of this.#sites) site.start();
    await this.#world.run(2_000);
    for (const step of steps) {
      await this.#world.run(step.afterMs);
      this.#take(step);
      await this.#world.run(0);
      this.#check();
    }
    await this.#world.run(this.#world.integer(0, 5_000));
    this.#heal();
    await this.#untilQuiet();
    await this.#checkEnd();
    await this.#checkRebuilt();
  }

  #take(step: Step): void {
    const at = (index: number): Site => this.#sites[index % this.#sites.length]!;
    switch (step.kind) {
      case "cut": {
        const [from, to] = [at(step.from).name, at(step.to).name];
        if (from === to) return;
        const directions = [
          this.#network.direction(from, to),
          ...(step.both ? [this.#network.direction(to, from)] : []),
        ];
        for (const direction of directions) direction.cut = true;
        this.#world.after(step.forMs, () => {
          for (const direction of directions) direction.heal();
        });
        return;
      }
      case "reset":
        this.#network.reset(at(step.from).name, at(step.to).name);
        return;
      case "delay": {
        const [from, to] = [at(step.from).name, at(step.to).name];
        if (from !== to) this.#network.direction(from, to).delayMs = step.ms;
        return;
      }
      case "die": {
        const site = at(step.site);
        site.dieAfter(step.points, step.death, () => {
          this.#deaths += 1;
          if (step.dropView) site.dropView();
          this.#world.after(step.downMs, () => site.start());
        });
        return;
      }
      case "lose":
        this.#lose(at(step.site), step, at(step.site).backUpLog());
        return;
      case "skew": {
        const site = at(step.site);
        site.skewMs = step.ms;
        this.#world.after(step.forMs, () => {
          site.skewMs = 0;
        });
        return;
      }
      default:
        this.#write(at(step.site), step);
    }
  }

  /** Lets a second of writes pass, waits until the peers show all that the site shows of itself, then takes its disk away. Given up after a while. */
  #lose(site: Site, step: Extract<Step, { kind: "lose" }>, backup: unknown): void {
    const begun = this.#world.now;
    const look = (): void => {
      site.losing = true;
      if (this.#world.now - begun > 20_000 || this.#healing) {
        site.losing = false;
        return;
      }
      if (!this.#isCopied(site)) {
        this.#world.after(100, look);
        return;
      }
      site.die("kill");
      this.#losses += 1;
      // A log set back goes on in the same life: its sequences, and tokens that name them, mean nothing any more.
      const isSetBack = step.what === "tail" || step.what === "image";
      if (isSetBack) this.#setBack.add(site.name);
      if (step.what === "everything") site.loseEverything();
      else site.loseLog(isSetBack ? backup : undefined);
      if (step.what === "image") {
        this.#refilled.add(site.name);
        site.dropView();
      }
      site.losing = false;
      this.#world.after(step.downMs, () => site.start());
    };
    this.#world.after(1_000, look);
  }

  #isCopied({ name, running }: Site): boolean {
    const own = running && parseVersion(running.catalog.version()).get(name);
    if (running === undefined || !running.catalog.ready || this.#oracle.openWrites(name) > 0) return false;
    return this.#sites.every((other) => {
      if (other.name === name) return true;
      const at = other.running && parseVersion(other.running.catalog.version()).get(name);
      return own === undefined || (at?.incarnation.id === own.incarnation.id && at.sequence >= own.sequence);
    });
  }

  #write(site: Site, step: Exclude<Step, { kind: "cut" | "reset" | "delay" | "die" | "skew" | "lose" }>): void {
    const { running } = site;
    if (running === undefined || !running.life.alive || site.losing) return;
    const repository = `r${step.repository}`;
    const { catalog } = running;
    switch (step.kind) {
      case "push": {
        const tag = `t${step.tag}`;
        const { manifest, links, blobs } = imageOf(step.manifest, step.layers);
        const digest = digestOf(`manifest ${step.manifest}`);
        const linking = blobs.map((blob): Change => ({ kind: "link", repository, digest: blob, size: 10 }));
        const naming: Change[] = [
          { kind: "manifest", repository, digest, value: manifest },
          {
            kind: "tag",
            repository,
            tag,
            digest,
            mediaType: "application/vnd.oci.image.manifest.v1+json",
            size: 100,
            who: "x",
          },
        ];
        const current = catalog.tag(repository, tag)?.digest;
        const condition: TagCondition | undefined =
          step.condition === "none"
            ? undefined
            : step.condition === "if-none-match" || current === undefined
              ? { ifNoneMatch: "*" }
              : { ifMatch: current };
        const parts = links === undefined || !step.links ? [[...linking, ...naming]] : [linking, naming];
        this.#commit(site, running, parts, condition);
        return;
      }
      case "delete-tag": {
        const tag = `t${step.tag}`;
        const current = catalog.tag(repository, tag)?.digest;
        if (current === undefined) return;
        const condition = step.condition ? { ifMatch: current } : undefined;
        this.#commit(site, running, [[{ kind: "delete-tag", repository, tag, who: "x" }]], condition);
        return;
      }
      case "delete-manifest": {
        const digest = catalog.tag(repository, `t${step.tag}`)?.digest;
        if (digest === undefined) return;
        this.#commit(site, running, [[{ kind: "delete-manifest", repository, digest, who: "x" }]], undefined);
        return;
      }
      case "delete-repository": {
        const tags = catalog.tags(repository, {}).items;
        const deletes = tags.map((tag): Change => ({ kind: "delete-tag", repository, tag, who: "x" }));
        if (deletes.length > 0) this.#commit(site, running, [deletes], undefined);
        return;
      }
      case "delete-link":
        this.#commit(site, running, [[{ kind: "delete-link", repository, digest: blobOf(step.layer) }]], undefined);
    }
  }

  #commit(site: Site, running: RunningSite, parts: readonly Change[][], condition: TagCondition | undefined): void {
    const work = async (): Promise<void> => {
      for (const changes of parts) {
        const conditional = changes.some(({ kind }) => /tag$/.test(kind)) ? condition : undefined;
        const write = this.#oracle.begin(site.name);
        try {
          const token = await running.catalog.commit(changes, conditional && { condition: conditional });
          this.#tokens.add(token);
        } catch (error) {
          this.#oracle.failed(write);
          if (error instanceof ContentError) return;
          throw error;
        }
        this.#oracle.acknowledged(write, running.view, changes.flatMap(keysOf));
        this.#checkAnswer(running, changes);
      }
    };
    work().catch((error: unknown) => this.#failures.push(error));
  }

  /** After a delete the site shows nothing of it, unless a newer put landed: what the register says is what it shows. */
  #checkAnswer({ catalog, view }: RunningSite, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind !== "delete-tag" && change.kind !== "tag") continue;
      const register = registerIn(view, `rt ${change.repository} ${change.tag}`);
      const shown = catalog.tag(change.repository, change.tag);
      const value = register?.put?.value;
      if (shown !== undefined && value?.case === "tag") assert.equal(shown.digest, fromWireDigest(value.value.digest));
    }
  }

  /** What holds at every moment. */
  #check(): void {
    if (this.#failures.length > 0) throw this.#failures[0];
    for (const site of this.#sites) {
      const { running } = site;
      if (running === undefined) continue;
      requireWhole(site.name, running);
      const version = running.catalog.version();
      requireOnward(site.name, this.#versions.get(running), version, this.#setBack);
      this.#versions.set(running, version);
    }
  }

  #heal(): void {
    this.#healing = true;
    this.#network.healAll();
    for (const site of this.#sites) {
      site.skewMs = 0;
      site.dieAfter(Number.POSITIVE_INFINITY, "kill", () => {});
      site.start();
    }
  }

  async #untilQuiet(): Promise<void> {
    const begun = this.#world.now;
    let last = "";
    while (this.#world.now - begun < QUIET_WITHIN_MS) {
      await this.#world.run(1_500);
      for (const site of this.#sites) site.start();
      this.#check();
      const running = this.#sites.map((site) => site.running);
      if (running.some((site) => site === undefined || !site.catalog.ready)) continue;
      const shown = running.map((site) => site!.catalog.version());
      const versions = shown.join(" ");
      // A site that is about to connect again moves nothing either: all have to stand at the same place.
      const level = new Set(shown).size === 1;
      if (level && versions === last && running.every((site) => rowsOf(site!).join() === rowsOf(running[0]!).join()))
        return;
      last = versions;
    }
    requireEqualViews(this.#sites);
    assert.fail("the sites do not become quiet");
  }

  async #checkEnd(): Promise<void> {
    for (const { name, running } of this.#sites) {
      this.#oracle.checkEnd(name, running!.view);
      requireWhole(name, running!);
      for (const token of this.#tokens) await requireReached(name, running!, token, this.#refilled);
    }
  }

  /** A view folded anew from the compacted logs is the same. */
  async #checkRebuilt(): Promise<void> {
    for (const { name, running } of this.#sites) {
      const before = rowsOf(running!);
      const rebuilt = running!.catalog.rebuild();
      await this.#world.run(5_000);
      await rebuilt;
      assert.deepEqual(rowsOf(running!), before, `the rebuilt view of ${name} differs`);
    }
  }
}

function blobOf(layer: number): Digest {
  return digestOf(`layer ${layer}`);
}

function imageOf(number: number, layers: readonly number[]) {
  const blobs = layers.map(blobOf);
  const references = blobs.map((digest) => ({
    digest: toWireDigest(digest),
    size: 10n,
    role: recordV1.ReferenceRole.LAYER,
    mediaType: "application/vnd.example",
  }));
  const manifest = create(recordV1.ManifestValueSchema, {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    size: BigInt(100 + number),
    references,
  });
  return { manifest, blobs, links: blobs.length > 0 ? blobs : undefined };
}

/** The registers that a change surely writes or has been written before. */
function keysOf(change: Change): string[] {
  switch (change.kind) {
    case "tag":
    case "delete-tag":
      return [`rt ${change.repository} ${change.tag}`];
    case "manifest":
    case "delete-manifest":
      return [`rm ${change.repository} ${change.digest}`];
    case "link":
    case "delete-link":
      return [`rl ${change.repository} ${change.digest}`];
    default:
      return [];
  }
}

/** P3: what a live tag names is visible, and what that references is linked. */
function requireWhole(site: string, { catalog }: RunningSite): void {
  for (const repository of catalog.repositories({}).items) {
    for (const tag of catalog.tags(repository, {}).items) {
      const { digest } = catalog.tag(repository, tag)!;
      const manifest = catalog.manifest(repository, digest);
      assert.ok(manifest, `${site}: ${repository}:${tag} names a manifest that is not visible`);
      for (const reference of manifest.value?.references ?? []) {
        const blob = fromWireDigest(reference.digest);
        assert.ok(
          catalog.blob(repository, blob),
          `${site}: ${repository}:${tag} references a blob that is not visible`,
        );
      }
    }
  }
}

/** What a process shows of an origin never goes back within one life of the log. */
function requireOnward(site: string, before: string | undefined, after: string, setBack: ReadonlySet<string>): void {
  if (before === undefined) return;
  const now = parseVersion(after);
  for (const [origin, was] of parseVersion(before)) {
    const is = now.get(origin);
    if (is === undefined || is.incarnation.id !== was.incarnation.id || setBack.has(origin)) continue;
    assert.ok(
      is.sequence >= was.sequence,
      `${site}: the version of ${origin} went back from ${was.sequence} to ${is.sequence}`,
    );
  }
}

/** P11: what a token names that was answered is shown, whatever logs were lost since: every peer had copied them. */
async function requireReached(
  site: string,
  { catalog }: RunningSite,
  token: string,
  refilled: ReadonlySet<string>,
): Promise<void> {
  const wanted = [...parseVersion(token)].map(([origin, { sequence }]) => `${sequence} of ${origin}`).join();
  await catalog.reached(token, AbortSignal.abort()).catch((error: Error) => {
    // What was written over a lost tail cannot be told from it: it may be called lost, though it is there.
    if (isContentError(error, "precondition") && [...parseVersion(token).keys()].some((origin) => refilled.has(origin)))
      return;
    assert.fail(`${site} does not show ${wanted}, which was answered: ${error.message}`);
  });
}

/** The rows of a view as text, without what is local to a site: cursors, lost lives, and sequences in its own log. */
function rowsOf({ view }: RunningSite): string[] {
  const rows: string[] = [];
  for (const [key, row] of view.range({})) {
    if (/^[chflx] ?/.test(key)) continue;
    rows.push(`${key} → ${Buffer.from(key.startsWith("r") ? row.subarray(8) : row).toString("hex")}`);
  }
  return rows;
}

function requireEqualViews(sites: readonly Site[]): void {
  const views = sites.map(({ name, running, alarms }) => {
    assert.ok(running, `${name} does not start: ${alarms.at(-1)}`);
    return { name, rows: rowsOf(running) };
  });
  for (const { name, rows } of views) {
    for (const other of views) {
      const [missing] = other.rows.filter((row) => !rows.includes(row));
      assert.ok(missing === undefined, `${name} and ${other.name} do not become equal: ${missing?.slice(0, 200)}`);
    }
  }
}
