import assert from "node:assert/strict";
import { fuzzTarget, hostileText } from "@meridian/oci/fuzz";
import fc from "fast-check";
import { openUploadSession, peekUploadSite, sealUploadSession } from "./upload-session.ts";

const key = Buffer.alloc(32, 7);
const text = fc.string({ unit: fc.constantFrom(..."abc-09é"), minLength: 1, maxLength: 20 });
const session = fc.record({
  site: text,
  nodes: fc.array(text, { minLength: 1, maxLength: 7 }),
  id: text,
  repository: text,
});
const token = session.map((sealed) => ({ sealed, token: sealUploadSession(key, sealed) }));

/** The Location of an upload, which comes back from the client. */
export const targets = [
  fuzzTarget("sealed location", token, (made) => {
    assert.deepEqual(openUploadSession(key, made.token), { ...made.sealed });
    assert.equal(peekUploadSite(made.token), made.sealed.site);
    assert.equal(openUploadSession(Buffer.alloc(32, 8), made.token), undefined, "another key's");
  }),
  fuzzTarget("location token", hostileText(token.map((made) => made.token)), (hostile) => {
    peekUploadSite(hostile);
    const opened = openUploadSession(key, hostile);
    if (opened !== undefined) assert.equal(sealUploadSession(key, opened), hostile, "a token that was not sealed so");
  }),
];
