import type { Topology } from "@meridian/cluster";
import { type Digest, formatUploadRange, isContentError, parseContentRange, tryParseDigest } from "@meridian/oci";
import { openUploadSession, peekUploadSite, type UploadSession } from "@meridian/transfer";
import { type Access, repositoryNeed } from "../access.ts";
import type { AnswerHeaders } from "../answer.ts";
import { answerPushed, type BlobPush, unknownUpload } from "../blob-push.ts";
import type { Exchange, HeaderList } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import type { MirroredUploads } from "../mirrored-upload.ts";
import { parseQuery } from "../query.ts";
import { Refusal } from "../refusal.ts";
import type { Match } from "../router.ts";
import type { SiteProxy } from "../site-proxy.ts";
import type { UploadLimit } from "../upload-limit.ts";

interface UploadParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly uploads: MirroredUploads;
  readonly push: BlobPush;
  readonly proxy: SiteProxy;
  readonly uploadLimit: UploadLimit;
  readonly uploadKey: Uint8Array;
}

/** An upload session as its `Location` shows it. */
interface Progress {
  readonly name: string;
  readonly token: string;
  readonly id: string;
  readonly offset: number;
}

/**
 * `/v2/<name>/blobs/uploads/<session>` (OCI distribution-spec, end-5, end-6, end-13): status, chunks, commit, cancel.
 * Sessions of another site are passed on to a gateway there.
 */
export function uploadRoutes(parts: UploadParts): ResourceHandlers {
  const here =
    (handle: (exchange: Exchange, session: OpenSession, parts: UploadParts) => Promise<void>) =>
    async (exchange: Exchange, match: Match): Promise<void> => {
      const principal = await parts.access.admit(exchange, repositoryNeed(match.name, "push"));
      const site = peekUploadSite(match.reference);
      if (site !== undefined && site !== parts.topology.site) return await parts.proxy.pass(exchange, site);
      const session = openUploadSession(parts.uploadKey, match.reference);
      if (session === undefined || session.site !== parts.topology.site || session.repository !== match.name)
        throw unknownUpload();
      await handle(exchange, { ...session, token: match.reference, principal }, parts);
    };
  const counted =
    (handle: typeof patch): typeof patch =>
    (exchange, session) =>
      parts.uploadLimit.during({ ...session, exchange }, () => handle(exchange, session, parts));
  return { GET: here(status), PATCH: here(counted(patch)), PUT: here(counted(put)), DELETE: here(cancel) };
}

interface OpenSession extends UploadSession {
  readonly token: string;
  readonly principal: Awaited<ReturnType<Access["admit"]>>;
}

async function status(exchange: Exchange, session: OpenSession, parts: UploadParts): Promise<void> {
  sendProgress(exchange, 204, progress(session, await offsetOf(session, parts)), parts.answers);
}

async function patch(exchange: Exchange, session: OpenSession, parts: UploadParts): Promise<void> {
  const offset = await append(exchange, session, parts);
  sendProgress(exchange, 202, progress(session, offset), parts.answers);
}

async function put(exchange: Exchange, session: OpenSession, parts: UploadParts): Promise<void> {
  const digest = requiredDigest(parseQuery(exchange.query).get("digest"));
  if (exchange.hasBody && exchange.bodyLength !== 0) await appendLast(exchange, session, parts);
  const pushed = await parts.push.finish(session.repository, session, digest, session.principal);
  parts.uploadLimit.done({ ...session, exchange });
  answerPushed(exchange, session.repository, pushed, parts.answers);
}

async function cancel(exchange: Exchange, session: OpenSession, parts: UploadParts): Promise<void> {
  await offsetOf(session, parts);
  await parts.uploads.cancel(session);
  parts.uploadLimit.done({ ...session, exchange });
  exchange.send(204, parts.answers.fixed);
}

function requiredDigest(text: string | null): Digest {
  const digest = text === null ? undefined : tryParseDigest(text);
  if (digest === undefined)
    throw new Refusal("DIGEST_INVALID", "the digest parameter is missing, or not a sha256 or sha512 digest");
  return digest;
}

/** A last chunk whose upload is gone may belong to a commit that was answered into the void: the commit finds out. */
async function appendLast(exchange: Exchange, session: OpenSession, parts: UploadParts): Promise<void> {
  try {
    await append(exchange, session, parts, true);
  } catch (error) {
    if (!(error instanceof Refusal && error.code === "BLOB_UPLOAD_UNKNOWN")) throw error;
  }
}

/** Appends the body where Content-Range says, else at the last offset that was acknowledged. Returns the new one. */
async function append(exchange: Exchange, session: OpenSession, parts: UploadParts, final = false): Promise<number> {
  const span = parseContentRange(exchange.header("content-range"));
  if (span !== undefined && exchange.bodyLength !== undefined && exchange.bodyLength !== span.end - span.start) {
    throw new Refusal("SIZE_INVALID", "Content-Range and Content-Length disagree");
  }
  if (!exchange.hasBody) return await offsetOf(session, parts);
  try {
    // Not tied to the client's going away: what has arrived is kept for a resume. A body that breaks off ends it.
    return await parts.uploads.append(session, exchange.body(), { offset: span?.start, final });
  } catch (error) {
    if (isContentError(error, "not-found")) throw unknownUpload(error);
    if (!isContentError(error, "invalid-range")) throw error;
    const offset = await offsetOf(session, parts);
    throw new Refusal("BLOB_UPLOAD_INVALID", `the chunk does not start at ${offset}, where this upload goes on`, {
      status: 416,
      headers: progressHeaders(progress(session, offset)),
      cause: error,
    });
  }
}

async function offsetOf(session: OpenSession, { uploads }: UploadParts): Promise<number> {
  try {
    return await uploads.offset(session);
  } catch (error) {
    throw isContentError(error, "not-found") ? unknownUpload(error) : error;
  }
}

function progress({ repository, token, id }: OpenSession, offset: number): Progress {
  return { name: repository, token, id, offset };
}

/** 202 or 204 with where the session is and how far it has come. */
export function sendProgress(
  exchange: Exchange,
  status: 202 | 204,
  state: Progress,
  answers: AnswerHeaders,
  more: HeaderList = [],
): void {
  const length = status === 202 ? ["Content-Length", "0"] : [];
  exchange.send(status, [...progressHeaders(state), ...length, ...more, ...answers.fixed]);
}

function progressHeaders({ name, token, id, offset }: Progress): string[] {
  return [
    "Location",
    `/v2/${name}/blobs/uploads/${token}`,
    "Range",
    formatUploadRange(offset),
    "Docker-Upload-UUID",
    id,
  ];
}
