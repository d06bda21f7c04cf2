import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { openUploadSession, peekUploadSite, sealUploadSession, type UploadSession } from "./upload-session.ts";

const key = Buffer.from("a key of the site for its tokens");
const session: UploadSession = { site: "eu", nodes: ["blob-node-1", "blob-node-3"], id: "abc", repository: "team/app" };
const field = fc.string({ minLength: 1, maxLength: 60, unit: "binary" });
const nodes = fc.array(fc.stringMatching(/^[a-z0-9-]{1,32}$/), { minLength: 1, maxLength: 7 });

describe("upload session tokens", () => {
  it("come back as they were sealed, in one path segment", () => {
    const sessions = fc.record({ site: field, nodes, id: field, repository: field }, { noNullPrototype: true });
    fc.assert(
      fc.property(sessions, (sealed) => {
        const token = sealUploadSession(key, sealed);
        assert.match(token, /^[A-Za-z0-9_-]+$/);
        assert.deepEqual(openUploadSession(key, token), sealed);
        assert.equal(peekUploadSite(token), sealed.site);
      }),
    );
  });

  it("are refused when any character was changed, dropped or added", () => {
    const token = sealUploadSession(key, session);
    const at = fc.nat(token.length - 1);
    fc.assert(
      fc.property(
        at,
        fc.constantFrom(..."AZaz09_-=. "),
        fc.constantFrom("replace", "insert", "drop"),
        (i, char, how) => {
          const forged = token.slice(0, i) + (how === "drop" ? "" : char) + token.slice(how === "insert" ? i : i + 1);
          fc.pre(forged !== token);
          assert.equal(openUploadSession(key, forged), undefined);
        },
      ),
    );
  });

  it("are refused under another key", () => {
    assert.equal(openUploadSession(Buffer.from("another"), sealUploadSession(key, session)), undefined);
  });

  it("are refused when they are not tokens at all", () => {
    for (const text of ["", "A", "-".repeat(43), "A".repeat(100_000), "../../x"]) {
      assert.equal(openUploadSession(key, text), undefined);
      assert.equal(peekUploadSite(text), undefined);
    }
  });

  it("are not made of what does not fit", () => {
    assert.throws(() => sealUploadSession(key, { ...session, site: "" }), RangeError);
    assert.throws(() => sealUploadSession(key, { ...session, repository: "x".repeat(256) }), RangeError);
  });
});
