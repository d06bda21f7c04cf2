import { setTimeout as sleep } from "node:timers/promises";
import type { PersistStep } from "@meridian/runtime";
import { type Answer, digestOf, MANIFEST_TYPE, makeImage, type OciClient, type TestImage } from "./oci-client.ts";
import type { Seeded } from "./seeded.ts";
import { until } from "./until.ts";

/** Where something is, and in which phase clients were told so. */
export interface Told {
  readonly repository: string;
  readonly phase: string;
}

/** What clients were told, for comparison with what is there at the end. */
export class Promises {
  /** Blobs whose upload was answered 201, by digest. */
  readonly blobs = new Map<string, Told & { readonly size: number }>();
  /** Images whose manifest PUT was answered 201, by digest. */
  readonly images = new Map<string, Told>();
  /** Manifests whose PUT was not answered, by digest: there as a whole, or not at all. */
  readonly open = new Map<string, Told>();
  /** Manifests whose DELETE was answered 202: gone. */
  readonly deleted = new Map<string, Told>();
  /** Requests that were hit. */
  interrupted = 0;

  /** Notes a manifest that is about to be put or deleted: from now on either outcome is right. */
  undecided(digest: string, told: Told): void {
    this.images.delete(digest);
    this.open.set(digest, told);
  }

  put(digest: string, told: Told): void {
    this.open.delete(digest);
    this.images.set(digest, told);
  }

  gone(digest: string, told: Told): void {
    this.open.delete(digest);
    this.deleted.set(digest, told);
  }

  /** Writes that were acknowledged in a phase. */
  acknowledged(phase: string): number {
    const told = [this.blobs, this.images, this.deleted].flatMap((kind) => [...kind.values()]);
    return told.filter((one) => one.phase === phase).length;
  }
}

/** What a phase works with. */
export interface PhaseContext {
  /** Its name. */
  readonly phase: string;
  /** A gateway of the site that will be killed. */
  readonly at: OciClient;
  /** One of another site. */
  readonly elsewhere: OciClient;
  readonly random: Seeded;
  readonly promises: Promises;
  /** Kills the site's processes; does nothing the second time. */
  readonly kill: () => void;
  /** Starts the site again, and resolves when it is ready. */
  readonly restart: () => Promise<void>;
  /** Lets the site's process die by itself when it reaches that step of a write for the `skip`-th time after the next. */
  readonly dieAt: (step: PersistStep, skip: number) => Promise<void>;
  /** Whether the site's processes are still those that the round began with. */
  readonly isAlive: () => boolean;
}

export type Phase = (context: PhaseContext) => Promise<void>;

export const REPOSITORIES = ["crash/a", "crash/b", "crash/c"];
const OCTETS = { "content-type": "application/octet-stream" };

/** Does what is asked, and kills at a random moment of it; undefined when no answer came. */
async function hit<T>(
  { random, kill, promises }: PhaseContext,
  withinMs: number,
  work: Promise<T>,
): Promise<T | undefined> {
  const answered = work.catch(() => {
    promises.interrupted += 1;
    return undefined;
  });
  // In tenths, as most of it is over in a few milliseconds.
  const wait = random.integer(0, withinMs * 10) / 10;
  const at = performance.now() + wait;
  if (wait > 5) await sleep(wait - 2);
  while (performance.now() < at) await new Promise((resolve) => setImmediate(resolve));
  kill();
  return answered;
}

export const startUpload = async (at: OciClient, repository: string): Promise<string> => {
  const answer = await at.call(`/v2/${repository}/blobs/uploads/`, { method: "POST" });
  if (answer.status !== 202) throw new Error(`POST upload: ${answer.status} ${answer.body}`);
  return String(answer.headers.location);
};

export const patch = (at: OciClient, location: string, body: Buffer): Promise<Answer> =>
  at.call(location, { method: "PATCH", headers: OCTETS, body });

export const finish = (at: OciClient, location: string, digest: string, body?: Buffer): Promise<Answer> =>
  at.call(`${location}${location.includes("?") ? "&" : "?"}digest=${digest}`, { method: "PUT", headers: OCTETS, body });

export const putManifest = (at: OciClient, repository: string, reference: string, image: TestImage): Promise<Answer> =>
  at.call(`/v2/${repository}/manifests/${reference}`, {
    method: "PUT",
    headers: { "content-type": MANIFEST_TYPE },
    body: image.manifest,
  });

export function bytesOf(random: Seeded, from: number, to: number): Buffer {
  return makeImage(random.integer(from, to)).layers[0] ?? Buffer.alloc(0);
}

/** A blob that is uploaded whole by `send`, during which the site is killed; told as stored only if that was answered. */
async function uploadHit(
  context: PhaseContext,
  withinMs: number,
  bytes: Buffer,
  send: (repository: string, digest: string) => Promise<Answer>,
): Promise<void> {
  const repository = context.random.pick(REPOSITORIES);
  const digest = digestOf(bytes);
  const answer = await hit(context, withinMs, send(repository, digest));
  if (answer?.status === 201)
    context.promises.blobs.set(digest, { repository, size: bytes.length, phase: context.phase });
}

export async function pushBlobs(at: OciClient, repository: string, image: TestImage): Promise<void> {
  for (const blob of [image.config, ...image.layers]) await at.pushBlob(repository, blob);
}

export async function pushed(
  at: OciClient,
  { promises, phase }: PhaseContext,
  repository: string,
  size: number,
): Promise<TestImage> {
  const image = makeImage(size);
  await at.push(repository, `t-${image.digest.slice(7, 19)}`, image);
  promises.put(image.digest, { repository, phase });
  return image;
}

/** Every request of an upload and a commit, and what a site does for others, by name: hit at a random moment. */
export const PHASES: Readonly<Record<string, Phase>> = {
  "POST of an upload": async (context) => {
    await hit(context, 6, startUpload(context.at, context.random.pick(REPOSITORIES)));
  },
  "PATCH, in its middle": async (context) => {
    const location = await startUpload(context.at, context.random.pick(REPOSITORIES));
    await hit(context, 60, patch(context.at, location, bytesOf(context.random, 2_000_000, 8_000_000)));
  },
  "between two chunks": async (context) => {
    const { at, random, promises, kill, restart, phase } = context;
    const repository = random.pick(REPOSITORIES);
    const bytes = bytesOf(random, 1_000_000, 3_000_000);
    const half = bytes.length >> 1;
    const first = await patch(at, await startUpload(at, repository), bytes.subarray(0, half));
    if (first.status !== 202) throw new Error(`PATCH: ${first.status}`);
    kill();
    await restart();
    const location = String(first.headers.location);
    const kept = await at.call(location);
    if (kept.status !== 204 || kept.headers.range !== `0-${half - 1}`)
      throw new Error(`an acknowledged chunk was lost: ${kept.status} ${kept.headers.range} instead of 0-${half - 1}`);
    const second = await patch(at, String(kept.headers.location), bytes.subarray(half));
    const digest = digestOf(bytes);
    const done = await finish(at, String(second.headers.location), digest);
    if (done.status !== 201) throw new Error(`PUT after a restart: ${done.status} ${done.body}`);
    promises.blobs.set(digest, { repository, size: bytes.length, phase });
  },
  "PUT with the body": async (context) => {
    const bytes = bytesOf(context.random, 100_000, 4_000_000);
    await uploadHit(context, 60, bytes, async (repository, digest) =>
      finish(context.at, await startUpload(context.at, repository), digest, bytes),
    );
  },
  "commit: hash, fsync, rename, fsync of the folder": async (context) => {
    const { at, random } = context;
    const bytes = bytesOf(random, 100_000, 1_000_000);
    const [repository = ""] = REPOSITORIES;
    const sent = await patch(at, await startUpload(at, repository), bytes);
    const digest = digestOf(bytes);
    const answer = await hit(context, 25, finish(at, String(sent.headers.location), digest));
    if (answer?.status === 201)
      context.promises.blobs.set(digest, { repository, size: bytes.length, phase: context.phase });
  },
  "manifest PUT": async (context) => {
    const { at, random, promises, phase } = context;
    const repository = random.pick(REPOSITORIES);
    const image = makeImage(50_000);
    await pushBlobs(at, repository, image);
    promises.undecided(image.digest, { repository, phase });
    const answer = await hit(context, 25, putManifest(at, repository, `t-${image.digest.slice(7, 19)}`, image));
    if (answer?.status === 201) promises.put(image.digest, { repository, phase });
  },
  "append of records, many at once": async (context) => {
    const { at, random, promises, phase } = context;
    const repository = random.pick(REPOSITORIES);
    const images = Array.from({ length: 6 }, () => makeImage(2_000));
    await Promise.all(images.map((image) => pushBlobs(at, repository, image)));
    for (const image of images) promises.undecided(image.digest, { repository, phase });
    const putting = images.map(async (image) => {
      const answer = await putManifest(at, repository, image.digest, image).catch(() => undefined);
      if (answer?.status === 201) promises.put(image.digest, { repository, phase });
      else promises.interrupted += 1;
    });
    await hit(context, 40, Promise.all(putting));
  },
  mount: async (context) => {
    const { at, random, promises, phase } = context;
    const [from = "", to = ""] = REPOSITORIES;
    const bytes = bytesOf(random, 10_000, 200_000);
    await at.pushBlob(from, bytes);
    const digest = digestOf(bytes);
    promises.blobs.set(digest, { repository: from, size: bytes.length, phase });
    const mounting = at.call(`/v2/${to}/blobs/uploads/?mount=${digest}&from=${from}`, { method: "POST" });
    const answer = await hit(context, 12, mounting);
    if (answer?.status === 201) promises.blobs.set(digest, { repository: to, size: bytes.length, phase });
  },
  "fetch from another site": async (context) => {
    const { at, elsewhere, random } = context;
    const repository = random.pick(REPOSITORIES);
    // That one may just have been killed in a round of its own.
    const size = random.integer(1_000_000, 5_000_000);
    const image = await until("the other site took it", () => pushed(elsewhere, context, repository, size), 240_000);
    const digest = digestOf(image.layers[0] ?? Buffer.alloc(0));
    const pulling = at.call(`/v2/${repository}/blobs/${digest}`, { discard: true });
    const answer = await hit(context, 80, pulling);
    if (answer?.status === 200 && answer.digest !== digest) throw new WrongBytes(`${digest} of ${repository}`);
  },
  delete: async (context) => {
    const { at, random, promises, phase } = context;
    const repository = random.pick(REPOSITORIES);
    const image = await pushed(at, context, repository, 20_000);
    promises.undecided(image.digest, { repository, phase });
    const path = `/v2/${repository}/manifests/${image.digest}`;
    const answer = await hit(context, 15, at.call(path, { method: "DELETE" }));
    if (answer?.status === 202) promises.gone(image.digest, { repository, phase });
  },
};

/** A complete answer whose bytes are not what was asked for. */
export class WrongBytes extends Error {
  override name = "WrongBytes";
}
