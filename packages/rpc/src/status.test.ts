import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Metadata, status } from "@grpc/grpc-js";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { errorOf, KIND_OF_STATUS, STATUS_OF_KIND, statusOf } from "./status.ts";

describe("errors on the wire", () => {
  it("has a status for every kind and a kind for every status but OK", () => {
    assert.deepEqual(Object.keys(STATUS_OF_KIND).sort(), Object.values(ContentErrorKind).sort());
    const codes = Object.values(status).filter((code) => typeof code === "number" && code !== status.OK);
    assert.deepEqual(Object.keys(KIND_OF_STATUS).map(Number).sort(), codes.sort());
  });

  for (const kind of Object.values(ContentErrorKind)) {
    it(`brings ${kind} back as it was`, () => {
      const error = errorOf(statusOf(new ContentError(kind, "why")), "/a/B at eu");
      assert.equal(error.kind, kind);
      assert.equal(error.message, "why");
    });
  }

  it("tells kinds apart that share a status", () => {
    const fenced = statusOf(new ContentError("fenced", "x"));
    const precondition = statusOf(new ContentError("precondition", "x"));
    assert.equal(fenced.code, precondition.code);
    assert.notEqual(errorOf(fenced, "").kind, errorOf(precondition, "").kind);
  });

  it("names peer and method for a status that no peer of ours wrote", () => {
    const error = errorOf({ code: status.NOT_FOUND, details: "nothing", metadata: new Metadata() }, "/a/B at eu:1");
    assert.equal(error.kind, "not-found");
    assert.equal(error.message, "/a/B at eu:1: nothing");
  });

  it("ignores a kind that it does not know", () => {
    const metadata = new Metadata();
    metadata.set("meridian-error-kind", "from-the-future");
    assert.equal(errorOf({ code: status.ABORTED, details: "", metadata }, "x").kind, "conflict");
  });

  it("says nothing of an error that is not for the peer, and bounds what it says of one that is", () => {
    const hidden = statusOf(new Error("/srv/secret"));
    assert.equal(hidden.code, status.INTERNAL);
    assert.doesNotMatch(JSON.stringify(hidden), /secret/);
    assert.equal(statusOf(new ContentError("invalid", "x".repeat(100_000))).details.length, 1024);
  });
});
