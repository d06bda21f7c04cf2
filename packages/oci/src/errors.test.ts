import assert from "node:assert/strict";
import { test } from "node:test";
import { ContentError, ContentErrorKind } from "./content-error.ts";
import { contentErrorToOci, toOciError } from "./content-error-to-oci.ts";
import { ERROR_CODES, type ErrorCode, isOciError, OciError, toErrorBody } from "./errors.ts";

/** distribution-spec v1.1.1, "Error Codes", code-1 to code-14, with the messages of its table. */
const SPECIFIED = `
BLOB_UNKNOWN | blob unknown to registry
BLOB_UPLOAD_INVALID | blob upload invalid
BLOB_UPLOAD_UNKNOWN | blob upload unknown to registry
DIGEST_INVALID | provided digest did not match uploaded content
MANIFEST_BLOB_UNKNOWN | manifest references a manifest or blob unknown to registry
MANIFEST_INVALID | manifest invalid
MANIFEST_UNKNOWN | manifest unknown to registry
NAME_INVALID | invalid repository name
NAME_UNKNOWN | repository name not known to registry
SIZE_INVALID | provided length did not match content length
UNAUTHORIZED | authentication required
DENIED | requested access to the resource is denied
UNSUPPORTED | the operation is unsupported
TOOMANYREQUESTS | too many requests`;

const OURS = ["UNAVAILABLE", "PRECONDITION_FAILED", "INSUFFICIENT_STORAGE", "RANGE_INVALID"];

test("the table has the codes and messages of the specification, and four documented ones of ours", () => {
  const specified = SPECIFIED.trim()
    .split("\n")
    .map((line) => line.split(" | "));
  const ofSpecification = Object.entries(ERROR_CODES).filter(([, entry]) => entry.source.includes("distribution-spec"));
  assert.deepEqual(
    ofSpecification.map(([code, entry]) => [code, entry.message]),
    specified,
  );
  assert.deepEqual(
    Object.keys(ERROR_CODES).filter((code) => !specified.some(([name]) => name === code)),
    OURS,
  );
  for (const [code, entry] of Object.entries(ERROR_CODES)) {
    assert.match(code, /^[A-Z_]+$/, "codes are upper case and underscores");
    assert.ok(entry.httpStatus >= 400 && entry.httpStatus < 600);
    assert.match(entry.source, /^https:/);
  }
});

test("an error takes status and message from the table unless it says otherwise", () => {
  const plain = new OciError("MANIFEST_UNKNOWN");
  assert.deepEqual([plain.status, plain.message, plain.detail], [404, "manifest unknown to registry", undefined]);
  const own = new OciError("MANIFEST_INVALID", "too large", { status: 413, retryAfterSeconds: 3, cause: "why" });
  assert.deepEqual([own.status, own.message, own.retryAfterSeconds, own.cause], [413, "too large", 3, "why"]);
  assert.ok(isOciError(own, "MANIFEST_INVALID") && !isOciError(own, "DENIED") && !isOciError(new Error("x")));
});

test("the body is the specification's JSON, in ASCII, without the cause", () => {
  const error = new OciError("BLOB_UNKNOWN", "kein Blöb \u{1f600}", {
    detail: { digest: "ü" },
    cause: new Error("secret"),
  });
  const body = toErrorBody([error, new OciError("DENIED")]);
  assert.match(body, /^[\x20-\x7e]*$/);
  assert.deepEqual(JSON.parse(body), {
    errors: [
      { code: "BLOB_UNKNOWN", message: "kein Blöb \u{1f600}", detail: { digest: "ü" } },
      { code: "DENIED", message: "requested access to the resource is denied" },
    ],
  });
});

test("every kind of ContentError has its code and status, by what it was about", () => {
  const answer = (kind: ContentErrorKind, what: Parameters<typeof contentErrorToOci>[1]): string => {
    const { code, status } = contentErrorToOci(new ContentError(kind, "m"), what);
    return `${code} ${status}`;
  };
  assert.equal(answer("not-found", "blob"), "BLOB_UNKNOWN 404");
  assert.equal(answer("not-found", "manifest"), "MANIFEST_UNKNOWN 404");
  assert.equal(answer("not-found", "tag"), "MANIFEST_UNKNOWN 404");
  assert.equal(answer("not-found", "upload"), "BLOB_UPLOAD_UNKNOWN 404");
  assert.equal(answer("not-found", "repository"), "NAME_UNKNOWN 404");
  assert.equal(answer("digest-mismatch", "upload"), "DIGEST_INVALID 400");
  assert.equal(answer("invalid-range", "upload"), "BLOB_UPLOAD_INVALID 416");
  assert.equal(answer("invalid-range", "blob"), "RANGE_INVALID 416");
  assert.equal(answer("fenced", "upload"), "BLOB_UPLOAD_INVALID 409");
  assert.equal(answer("precondition", "tag"), "PRECONDITION_FAILED 412");
  assert.equal(answer("no-space", "upload"), "INSUFFICIENT_STORAGE 507");
  assert.equal(answer("invalid", "manifest"), "MANIFEST_INVALID 400");
  for (const kind of ["denied", "conflict", "unavailable"] as const)
    assert.equal(answer(kind, "blob"), "UNAVAILABLE 503");
  for (const kind of Object.values(ContentErrorKind)) {
    const error = new ContentError(kind, "path /srv/disk7 said no");
    const oci = contentErrorToOci(error, "upload");
    assert.equal(oci.cause, error);
    if (oci.status >= 500) assert.doesNotMatch(toErrorBody(oci), /disk7/, "5xx bodies say nothing internal");
    assert.equal(oci.retryAfterSeconds !== undefined, oci.status === 503);
  }
});

test("what nobody expected is a 500 that says nothing", () => {
  const error = toOciError(new TypeError("cannot read property of /etc/shadow"), "blob");
  assert.equal(error.status, 500);
  assert.doesNotMatch(toErrorBody(error), /shadow/);
  const known: ErrorCode = "DENIED";
  const denied = new OciError(known);
  assert.equal(toOciError(denied, "blob"), denied);
  assert.equal(toOciError(new ContentError("not-found", "x"), "blob").code, "BLOB_UNKNOWN");
});
