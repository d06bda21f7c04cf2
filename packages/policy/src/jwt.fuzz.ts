import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { fuzzTarget, hostileText } from "@meridian/oci/fuzz";
import fc from "fast-check";
import { decodeJwt, signJwt } from "./jwt.ts";

const { privateKey } = generateKeyPairSync("ed25519");
const made = ["JWT", "refresh+jwt"].map((type) =>
  signJwt({ type: type as "JWT", keyId: "k", payload: { sub: "alice", exp: 1, aud: "x" }, privateKey }),
);
const part = fc
  .anything({ maxDepth: 2, maxKeys: 3 })
  .map((value) => Buffer.from(JSON.stringify(value) ?? "").toString("base64url"));
const header = fc
  .record({
    alg: fc.constantFrom("EdDSA", "none", 1),
    typ: fc.constantFrom("JWT", [], null),
    kid: fc.constantFrom("k", {}),
  })
  .map((value) => Buffer.from(JSON.stringify(value)).toString("base64url"));

/** Tokens, as they come with every request. */
export const targets = [
  fuzzTarget(
    "bearer token",
    hostileText(
      fc.oneof(
        fc.constantFrom(...made),
        fc.tuple(header, part, part).map((parts) => parts.join(".")),
      ),
    ),
    (text) => {
      const jwt = decodeJwt(text);
      if (jwt === undefined) return;
      assert.ok(text.startsWith(`${jwt.signedPart}.`));
      assert.equal(typeof jwt.keyId, "string");
      assert.ok(typeof jwt.payload === "object" && jwt.payload !== null);
    },
  ),
];
