import { ContentError, isContentError } from "@meridian/oci";
import { describePlace, type S3Place } from "./s3-settings.ts";
import { BusyAnswer } from "./s3-transport.ts";

/** The S3 error code, as in "NoSuchKey", or the system's, as in "ECONNREFUSED"; undefined when there is neither. */
export function s3Code(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === "string" && code !== "" ? code : undefined;
}

/** True when the object, and not more, is missing. */
export function isMissing(error: unknown): boolean {
  const code = s3Code(error);
  return code === "NoSuchKey" || code === "NotFound";
}

/** How a failed request is to be taken: over at once, to be tried again, or to be tried again after a longer wait. */
export type Patience = "none" | "again" | "slower";

const LATER: ReadonlySet<string> = new Set(["InternalError", "RequestTimeout", "OperationAborted"]);
const OVERLOAD: ReadonlySet<string> = new Set(["SlowDown", "ServiceUnavailable", "SlowDownRead", "SlowDownWrite"]);

/** Whether trying again may help. */
export function patienceFor(error: unknown): Patience {
  const code = s3Code(error);
  if (error instanceof BusyAnswer) {
    // Without a code, as in the answer to a HEAD, a 503 is S3's way to say "slow down".
    const isOverload = code === undefined ? error.status === 503 : OVERLOAD.has(code);
    return error.status === 429 || isOverload ? "slower" : "again";
  }
  if (code === undefined) return isCutOff(error) ? "again" : "none";
  if (OVERLOAD.has(code)) return "slower";
  return LATER.has(code) || isSystemCode(code) ? "again" : "none";
}

const NOT_TRANSIENT: ReadonlySet<string> = new Set(["EPROTO", "EINVAL"]);

/** Errors of sockets and names (`ECONNRESET`), but not of certificates (`ERR_TLS_…`, `CERT_…`). */
function isSystemCode(code: string): boolean {
  return /^(E[A-Z]+|EAI_[A-Z]+)$/.test(code) && !NOT_TRANSIENT.has(code);
}

function isCutOff(error: unknown): boolean {
  return error instanceof Error && /socket hang up|aborted|premature/i.test(error.message);
}

const FULL: ReadonlySet<string> = new Set([
  "XMinioStorageFull",
  "XMinioAdminBucketQuotaExceeded",
  "QuotaExceeded",
  "InsufficientCapacity",
]);

/** A failed request as ContentError: `no-space` or `unavailable`, naming bucket and endpoint, never a secret. */
export function s3Error(error: unknown, doing: string, place: S3Place): ContentError {
  if (isContentError(error)) return error;
  const code = s3Code(error) ?? (error instanceof BusyAnswer ? error.message : nameOf(error));
  const where = describePlace(place);
  if (FULL.has(code)) {
    const advice = "free or add space there, or raise the bucket's quota";
    return new ContentError("no-space", `no space to ${doing} in ${where} (${code}): ${advice}`, { cause: error });
  }
  const advice = adviceFor(code, error, place);
  const message = `cannot ${doing} in ${where} (${code})${advice === undefined ? "" : `: ${advice}`}`;
  return new ContentError("unavailable", message, { cause: error });
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "unknown error";
}

function adviceFor(code: string, error: unknown, { bucket, endpoint, region }: S3Place): string | undefined {
  if (error instanceof BusyAnswer)
    return "the service is overloaded or starting; this goes on by itself when it is well";
  if (isCertificateCode(code)) return "its certificate is not trusted: name the authority in caFile";
  switch (code) {
    case "NoSuchBucket":
      return `there is no such bucket: create "${bucket}", or correct storage.s3.bucket`;
    case "InvalidBucketName":
    case "InvalidBucketNameError":
      return "correct storage.s3.bucket";
    case "AccessDenied":
    case "AllAccessDisabled":
      return "the credentials may not do this: grant s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload, ListBucket and ListBucketMultipartUploads on the bucket";
    case "InvalidAccessKeyId":
    case "SignatureDoesNotMatch":
      return "the credentials are wrong: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the credential files";
    case "ExpiredToken":
    case "InvalidToken":
      return "the temporary credentials have expired: renew them";
    case "RequestTimeTooSkewed":
      return "this machine's clock and the service's differ too much: set the clock";
    case "AuthorizationHeaderMalformed":
    case "PermanentRedirect":
    case "MovedPermanently":
    case "IllegalLocationConstraintException":
      return `the bucket is in another region than ${region ?? "asked"}: correct storage.s3.region and endpoint`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `the name ${new URL(endpoint).hostname} is not known: correct storage.s3.endpoint`;
    default:
      return isSystemCode(code) ? "the endpoint does not answer: start it, or correct storage.s3.endpoint" : undefined;
  }
}

function isCertificateCode(code: string): boolean {
  return /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS/.test(code);
}
