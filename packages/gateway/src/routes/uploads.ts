import type { Catalog } from "@meridian/catalog";
import type { Topology } from "@meridian/cluster";
import {
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  OciError,
  tryParseDigest,
  tryParseRepository,
} from "@meridian/oci";
import { mayMount, type PlacementSettings, type Principal } from "@meridian/policy";
import type { Random } from "@meridian/runtime";
import { sealUploadSession } from "@meridian/transfer";
import { type Access, repositoryNeed } from "../access.ts";
import type { AnswerHeaders } from "../answer.ts";
import { answerPushed, type BlobPush, type PushedBlob } from "../blob-push.ts";
import type { BlobSources } from "../blob-sources.ts";
import { type CopyKeeper, newUploadId } from "../copy-keeper.ts";
import type { Exchange } from "../exchange.ts";
import type { Handler } from "../handler.ts";
import type { MirroredUploads } from "../mirrored-upload.ts";
import { parseQuery } from "../query.ts";
import { Refusal } from "../refusal.ts";
import { step } from "../tracing.ts";
import type { UploadLimit } from "../upload-limit.ts";
import { sendProgress } from "./upload.ts";

interface UploadsParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly topology: Topology;
  readonly sources: BlobSources;
  readonly settings: Pick<PlacementSettings, "of">;
  readonly keeper: CopyKeeper;
  readonly uploads: MirroredUploads;
  readonly push: BlobPush;
  readonly uploadLimit: UploadLimit;
  readonly random: Random;
  readonly uploadKey: Uint8Array;
  readonly chunkMinBytes: number;
}

/** A blob that is in very many repositories is in one that the client may read, or is uploaded. */
const MAX_SOURCES = 100;

/**
 * `POST /v2/<name>/blobs/uploads/` (OCI distribution-spec, end-4a, end-4b, end-11): mounts what `mount` names, stores the
 * body as what `digest` names, or begins an upload session.
 */
export function startUpload(parts: UploadsParts): Handler {
  return async (exchange, { name }) => {
    const query = parseQuery(exchange.query);
    const from = query.get("from");
    const source = from === null ? undefined : tryParseRepository(from);
    const mount = query.get("mount");
    const mounted = mount === null ? undefined : requireDigest(mount);
    const principal = await admit(exchange, name, mounted === undefined ? undefined : source, parts);
    if (mounted !== undefined && (await tryMount(exchange, name, mounted, source, principal, parts))) return;
    const digest = query.get("digest");
    if (digest !== null) await pushWhole(exchange, name, requireDigest(digest), principal, parts);
    else await begin(exchange, name, algorithmOf(query.get("digest-algorithm"), mounted), principal, parts);
  };
}

function requireDigest(text: string): Digest {
  const digest = tryParseDigest(text);
  if (digest === undefined) throw new Refusal("DIGEST_INVALID", "not a sha256 or sha512 digest");
  return digest;
}

/** Push here; and pull from the mount's source, unless the policy forbids that anyway: then the client uploads. */
async function admit(
  exchange: Exchange,
  name: string,
  source: string | undefined,
  { access }: UploadsParts,
): Promise<Principal> {
  const push = repositoryNeed(name, "push");
  if (source === undefined || source === name) return await access.admit(exchange, push);
  const pull = repositoryNeed(source, "pull");
  try {
    return await access.admit(exchange, push, pull);
  } catch (error) {
    if (error instanceof OciError && error.code === "DENIED") return await access.admit(exchange, push);
    throw error;
  }
}

/** True when it answered. A blob that is not there, or may not be read there, is a miss, no error. */
async function tryMount(
  exchange: Exchange,
  name: string,
  digest: Digest,
  source: string | undefined,
  principal: Principal,
  { access, catalog, sources, settings, push, answers }: UploadsParts,
): Promise<boolean> {
  for (const repository of source === undefined ? anywhere(name, digest, catalog) : [source]) {
    if (!access.decide(exchange, principal, repositoryNeed(repository, "pull")).allow) continue;
    // Bytes that are kept from a site get there only by being pushed to where they may be there.
    if (!mayMount(settings, { from: repository, to: name })) continue;
    const blob = catalog.blob(repository, digest);
    if (blob === undefined || !sources.reachable(blob)) continue;
    const mounted = await step(exchange, "mount.blob", () => push.mount(name, digest, blob.size, principal));
    answerPushed(exchange, name, mounted, answers);
    return true;
  }
  return false;
}

/** Where a mount that names no source looks: here, then in other repositories that have it. */
function anywhere(name: string, digest: Digest, catalog: Catalog): ReadonlySet<string> {
  return new Set([name, ...catalog.repositoriesOf(digest, MAX_SOURCES)]);
}

async function pushWhole(
  exchange: Exchange,
  name: string,
  digest: Digest,
  principal: Principal,
  parts: UploadsParts,
): Promise<void> {
  const { keeper, uploads, push, uploadLimit } = parts;
  const counted = { exchange, principal, id: newUploadId(parts.random) };
  const store = async (): Promise<PushedBlob> => {
    const upload = await keeper.begin({ id: counted.id, digest, algorithm: digestAlgorithm(digest) });
    try {
      // Not tied to the client's going away: a body that breaks off ends it.
      if (exchange.hasBody) await uploads.append(upload, exchange.body(), { offset: 0, final: true });
      return await push.finish(name, upload, digest, principal);
    } catch (error) {
      // Nobody knows this upload's name: it cannot be resumed.
      await uploads.cancel(upload).catch(() => undefined);
      throw error;
    }
  };
  const pushed = await uploadLimit.during(counted, store).finally(() => uploadLimit.done(counted));
  answerPushed(exchange, name, pushed, parts.answers);
}

function algorithmOf(asked: string | null, mounted: Digest | undefined): DigestAlgorithm | undefined {
  if (asked === null) return mounted === undefined ? undefined : digestAlgorithm(mounted);
  if (asked === "sha256" || asked === "sha512") return asked;
  throw new Refusal("UNSUPPORTED", "digest-algorithm is neither sha256 nor sha512", { status: 400 });
}

async function begin(
  exchange: Exchange,
  name: string,
  algorithm: DigestAlgorithm | undefined,
  principal: Principal,
  parts: UploadsParts,
): Promise<void> {
  const { keeper, uploadLimit, uploadKey, topology, answers, chunkMinBytes } = parts;
  const counted = { exchange, principal, id: newUploadId(parts.random) };
  try {
    const upload = await uploadLimit.during(counted, () => keeper.begin({ id: counted.id, algorithm }));
    const token = sealUploadSession(uploadKey, { site: topology.site, ...upload, repository: name });
    const hint = chunkMinBytes === 0 ? [] : ["OCI-Chunk-Min-Length", String(chunkMinBytes)];
    sendProgress(exchange, 202, { name, token, id: upload.id, offset: 0 }, answers, hint);
  } catch (error) {
    uploadLimit.done(counted);
    throw error;
  }
}
