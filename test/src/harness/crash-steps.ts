import { PERSIST_STEPS, type PersistStep } from "@meridian/runtime";
import {
  bytesOf,
  finish,
  type Phase,
  type PhaseContext,
  patch,
  pushBlobs,
  pushed,
  putManifest,
  REPOSITORIES,
  startUpload,
} from "./crash-phases.ts";
import { digestOf, makeImage } from "./oci-client.ts";
import { until } from "./until.ts";

/** A step that no write passes is no step: by then each kind of write has been made several times. */
const MAX_WRITES = 100;
/** How often a step may pass first, so that it is also hit in the middle of larger writes, and beside others. */
const MAX_SKIP = 24;

type Write = (context: PhaseContext, repository: string) => Promise<void>;

/** A blob in one request, small enough to be stored in one step at times. */
const smallBlob: Write = async ({ at, random, promises, phase }, repository) => {
  const bytes = bytesOf(random, 1_000, 400_000);
  const digest = digestOf(bytes);
  const answer = await finish(at, await startUpload(at, repository), digest, bytes);
  if (answer.status === 201) promises.blobs.set(digest, { repository, size: bytes.length, phase });
};

/** A blob in chunks, larger than any buffer. */
const chunkedBlob: Write = async ({ at, random, promises, phase }, repository) => {
  const bytes = bytesOf(random, 1_000_000, 12_000_000);
  const digest = digestOf(bytes);
  let location = await startUpload(at, repository);
  for (const half of [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]) {
    location = String((await patch(at, location, half)).headers.location);
  }
  const answer = await finish(at, location, digest);
  if (answer.status === 201) promises.blobs.set(digest, { repository, size: bytes.length, phase });
};

const images =
  (count: number): Write =>
  async ({ at, promises, phase }, repository) => {
    const made = Array.from({ length: count }, () => makeImage(20_000));
    await Promise.all(made.map((image) => pushBlobs(at, repository, image)));
    for (const { digest } of made) promises.undecided(digest, { repository, phase });
    const put = made.map(async (image) => {
      const answer = await putManifest(at, repository, `t-${image.digest.slice(7, 19)}`, image);
      if (answer.status === 201) promises.put(image.digest, { repository, phase });
    });
    await Promise.all(put);
  };

const deletedImage: Write = async (context, repository) => {
  const { at, promises, phase } = context;
  const { digest } = await pushed(at, context, repository, 20_000);
  promises.undecided(digest, { repository, phase });
  const answer = await at.call(`/v2/${repository}/manifests/${digest}`, { method: "DELETE" });
  if (answer.status === 202) promises.gone(digest, { repository, phase });
};

const WRITES: readonly Write[] = [smallBlob, chunkedBlob, images(1), images(5), deletedImage];

/** The process dies exactly there, whichever write comes by; each step comes as often as every other. */
function dieAt(step: PersistStep): Phase {
  return async (context) => {
    const { random, promises, isAlive } = context;
    await context.dieAt(step, random.integer(0, MAX_SKIP));
    for (let writes = 0; isAlive(); writes++) {
      if (writes === MAX_WRITES) throw new Error(`no write came by "${step}"`);
      try {
        await random.pick(WRITES)(context, random.pick(REPOSITORIES));
      } catch (error) {
        promises.interrupted += 1;
        await until("the process is dead", () => !isAlive()).catch(() => Promise.reject(error));
      }
    }
  };
}

/** Every step by which a write becomes durable, by name. */
export const STEPS: Readonly<Record<string, Phase>> = Object.fromEntries(
  PERSIST_STEPS.map((step) => [step, dieAt(step)]),
);
