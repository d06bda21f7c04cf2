import { digestOf, MANIFEST_TYPE, makeImage, type OciClient, type TestImage } from "../harness/oci-client.ts";
import type { Seeded } from "../harness/seeded.ts";
import type { Operation } from "./history.ts";

/** An image that was pushed, or may have been. */
interface KnownImage {
  readonly repository: string;
  readonly image: TestImage;
  /** Tags that it was put at: each at most once. */
  readonly tags: Set<string>;
  /** It has one tag of its own, and may be deleted by digest. */
  readonly alone: boolean;
  state: "acknowledged" | "unknown" | "deleted";
}

type Outcome = Pick<Operation, "outcome" | "detail"> & { readonly digest?: string };

/** What {@link Workload} needs. */
export interface WorkloadOptions {
  readonly random: Seeded;
  /** A client of a site's gateway. */
  readonly at: (site: string) => OciClient;
  readonly sites: readonly string[];
  readonly now: () => number;
  readonly record: (operation: Operation) => void;
}

const REPOSITORIES = ["rounds/a", "rounds/b", "rounds/c"] as const;
const CONTESTED_TAGS = 5;
const REQUEST_TIMEOUT_MS = 15_000;
const REMEMBERED = 60;

/** Clients that push, retag, delete and pull at random, and note what they were told. */
export class Workload {
  readonly #options: WorkloadOptions;
  readonly #images: KnownImage[] = [];
  #number = 0;

  constructor(options: WorkloadOptions) {
    this.#options = options;
  }

  /** Every repository that is written to. */
  get repositories(): readonly string[] {
    return REPOSITORIES;
  }

  /** One operation at some site; never rejects. */
  async step(round: number): Promise<void> {
    const { random } = this.#options;
    const dice = random.integer(0, 100);
    if (dice < 30) await this.#push(round);
    else if (dice < 42) await this.#retag(round);
    else if (dice < 54) await this.#deleteTag(round);
    else if (dice < 62) await this.#deleteManifest(round);
    else if (dice < 82) await this.#pullTag(round);
    else await this.#pullDigest(round);
  }

  async #push(round: number): Promise<void> {
    const { random } = this.#options;
    const alone = random.integer(0, 4) === 0;
    const repository = random.pick(REPOSITORIES);
    const tag = alone ? `alone${++this.#number}` : `t${random.integer(0, CONTESTED_TAGS)}`;
    const made = makeImage(random.pick([200, 5_000, 40_000, 400_000]));
    const known = { repository, image: made, tags: new Set([tag]), alone, state: "unknown" as KnownImage["state"] };
    this.#remember(known);
    const put = { round, action: "push", site: random.pick(this.#options.sites), repository, tag } as const;
    await this.#noted({ ...put, digest: made.digest }, async (client) => {
      for (const blob of [made.config, ...made.layers]) {
        const refused = await pushBlob(client, repository, blob);
        if (refused !== undefined) return { outcome: "unknown", detail: refused };
      }
      const outcome = await putManifest(client, repository, tag, made);
      if (outcome.outcome === "acknowledged") known.state = "acknowledged";
      return outcome;
    });
  }

  async #retag(round: number): Promise<void> {
    const { random, sites } = this.#options;
    const known = this.#pick(({ alone, state }) => !alone && state === "acknowledged");
    const tag = `t${random.integer(0, CONTESTED_TAGS)}`;
    if (known === undefined || known.tags.has(tag)) return await this.#push(round);
    known.tags.add(tag);
    const { repository, image } = known;
    const put = { round, action: "retag", site: random.pick(sites), repository, tag, digest: image.digest } as const;
    await this.#noted(put, async (client) => {
      // As clients do: what the site says that it has is not sent again.
      for (const blob of [image.config, ...image.layers]) {
        const head = await client.call(`/v2/${repository}/blobs/${digestOf(blob)}`, {
          method: "HEAD",
          timeoutMs: REQUEST_TIMEOUT_MS,
        });
        const refused = head.status === 200 ? undefined : await pushBlob(client, repository, blob);
        if (refused !== undefined) return { outcome: "unknown", detail: refused };
      }
      return await putManifest(client, repository, tag, image);
    });
  }

  async #deleteTag(round: number): Promise<void> {
    const { random, sites } = this.#options;
    const [repository, site] = [random.pick(REPOSITORIES), random.pick(sites)];
    const tag = `t${random.integer(0, CONTESTED_TAGS)}`;
    const seen = await this.#shown(site, repository, tag);
    if (seen === undefined) return;
    await this.#noted({ round, action: "delete-tag", site, repository, tag, seen }, (client) =>
      deleteOf(client, `/v2/${repository}/manifests/${tag}`),
    );
  }

  /** Only of images with one tag of their own, which no other put is at, and only where both are shown. */
  async #deleteManifest(round: number): Promise<void> {
    const { random, sites } = this.#options;
    const known = this.#pick(({ alone, state }) => alone && state === "acknowledged");
    const [tag] = known?.tags ?? [];
    if (known === undefined || tag === undefined) return;
    const { repository, image } = known;
    const site = random.pick(sites);
    const seen = await this.#shown(site, repository, tag);
    if (seen !== image.digest) return;
    known.state = "deleted";
    const { digest } = image;
    await this.#noted({ round, action: "delete-manifest", site, repository, tag, digest, seen }, (client) =>
      deleteOf(client, `/v2/${repository}/manifests/${digest}`),
    );
  }

  async #pullTag(round: number): Promise<void> {
    const { random, sites } = this.#options;
    const known = this.#pick(() => true);
    const [repository, tag] = [known?.repository ?? REPOSITORIES[0], [...(known?.tags ?? ["t0"])].at(-1) ?? "t0"];
    await this.#noted({ round, action: "pull-tag", site: random.pick(sites), repository, tag }, (client) =>
      pullImage(client, repository, tag),
    );
  }

  async #pullDigest(round: number): Promise<void> {
    const { random, sites } = this.#options;
    const known = this.#pick(({ state }) => state === "acknowledged");
    if (known === undefined) return;
    const { repository, image } = known;
    const { digest } = image;
    await this.#noted(
      { round, action: "pull-digest", site: random.pick(sites), repository, digest },
      async (client) => {
        const { outcome, detail } = await pullImage(client, repository, digest);
        return { outcome, detail };
      },
    );
  }

  /** What the site shows of a tag; undefined for nothing, and when it does not answer. */
  async #shown(site: string, repository: string, tag: string): Promise<string | undefined> {
    const path = `/v2/${repository}/manifests/${tag}`;
    const answer = await this.#options
      .at(site)
      .call(path, { method: "HEAD", timeoutMs: REQUEST_TIMEOUT_MS })
      .catch(() => undefined);
    return answer?.status === 200 ? String(answer.headers["docker-content-digest"]) : undefined;
  }

  async #noted(
    what: Omit<Operation, "kind" | "startedAt" | "endedAt" | "outcome" | "detail">,
    attempt: (client: OciClient) => Promise<Outcome>,
  ): Promise<void> {
    const { at, now, record } = this.#options;
    const startedAt = now();
    const told = await attempt(at(what.site)).catch(
      (error: unknown): Outcome => ({ outcome: "unknown", detail: String(error) }),
    );
    record({ kind: "operation", ...what, startedAt, endedAt: now(), ...told });
  }

  #remember(known: KnownImage): void {
    this.#images.push(known);
    if (this.#images.length > REMEMBERED) this.#images.shift();
  }

  #pick(suits: (known: KnownImage) => boolean): KnownImage | undefined {
    const suitable = this.#images.filter(suits);
    return suitable.length === 0 ? undefined : this.#options.random.pick(suitable);
  }
}

/** Undefined once the blob is acknowledged, else what was answered instead. */
async function pushBlob(client: OciClient, repository: string, blob: Buffer): Promise<string | undefined> {
  const headers = { "content-length": "0" };
  const begun = await client.call(`/v2/${repository}/blobs/uploads/`, {
    method: "POST",
    headers,
    timeoutMs: REQUEST_TIMEOUT_MS,
  });
  if (begun.status !== 202) return `POST upload: ${begun.status} ${begun.body.toString().slice(0, 200)}`;
  const location = new URL(String(begun.headers.location), client.server);
  location.searchParams.set("digest", digestOf(blob));
  const path = location.pathname + location.search;
  const type = { "content-type": "application/octet-stream" };
  const done = await client.call(path, { method: "PUT", headers: type, body: blob, timeoutMs: REQUEST_TIMEOUT_MS });
  return done.status === 201 ? undefined : `PUT blob: ${done.status} ${done.body.toString().slice(0, 200)}`;
}

async function putManifest(
  client: OciClient,
  repository: string,
  tag: string,
  { manifest }: TestImage,
): Promise<Outcome> {
  const headers = { "content-type": MANIFEST_TYPE };
  const path = `/v2/${repository}/manifests/${tag}`;
  const answer = await client.call(path, { method: "PUT", headers, body: manifest, timeoutMs: REQUEST_TIMEOUT_MS });
  return outcomeOf(answer.status, 201, answer.body);
}

async function deleteOf(client: OciClient, path: string): Promise<Outcome> {
  const answer = await client.call(path, { method: "DELETE", timeoutMs: REQUEST_TIMEOUT_MS });
  return outcomeOf(answer.status, 202, answer.body);
}

function outcomeOf(status: number, wanted: number, body: Buffer): Outcome {
  const detail = status === wanted ? String(status) : `${status} ${body.toString().slice(0, 200)}`;
  if (status === wanted) return { outcome: "acknowledged", detail };
  if (status === 404) return { outcome: "absent", detail };
  // Too many requests, and a login that could not be checked, say nothing about what was asked for.
  return { outcome: status >= 400 && status < 500 && status !== 429 && status !== 401 ? "refused" : "unknown", detail };
}

/** Pulls an image whole; `digest` is what came. */
export async function pullImage(client: OciClient, repository: string, reference: string): Promise<Outcome> {
  const manifest = await client.call(`/v2/${repository}/manifests/${reference}`, {
    headers: { accept: MANIFEST_TYPE },
    timeoutMs: REQUEST_TIMEOUT_MS,
  });
  if (manifest.status !== 200) return outcomeOf(manifest.status, 200, manifest.body);
  const { digest } = manifest;
  const named = reference.startsWith("sha256:") ? reference : manifest.headers["docker-content-digest"];
  if (named !== digest) return { outcome: "wrong", digest, detail: `the manifest hashes to ${digest}, not ${named}` };
  const { config, layers } = JSON.parse(manifest.body.toString()) as {
    config: { digest: string };
    layers: { digest: string }[];
  };
  for (const blob of [config, ...layers]) {
    const path = `/v2/${repository}/blobs/${blob.digest}`;
    const answer = await client.call(path, { discard: true, timeoutMs: REQUEST_TIMEOUT_MS });
    // Only the manifest's own absence says that the image is unknown.
    if (answer.status !== 200) return { outcome: "unknown", digest, detail: `blob ${blob.digest}: ${answer.status}` };
    if (answer.digest !== blob.digest)
      return { outcome: "wrong", digest, detail: `blob ${blob.digest} hashes to ${answer.digest}` };
  }
  return { outcome: "acknowledged", digest, detail: String(manifest.headers["meridian-served-by"]) };
}
