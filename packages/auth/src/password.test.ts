import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isContentError } from "@meridian/oci";
import { authConfigSchema } from "./config.ts";
import { hashPassword, impossiblePasswordHash, verifyPassword } from "./password.ts";

/** Made by the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -e`. */
const REFERENCE = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

describe("passwords", () => {
  it("verifies what it hashed, and nothing else", async () => {
    const hash = await hashPassword("correct horse");
    assert.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    assert.equal(await verifyPassword("correct horse", hash), true);
    assert.equal(await verifyPassword("correct horsf", hash), false);
    assert.notEqual(await hashPassword("correct horse"), hash);
  });

  it("reads the reference implementation's hashes", async () => {
    assert.equal(await verifyPassword("password", REFERENCE), true);
    assert.equal(await verifyPassword("passwore", REFERENCE), false);
  });

  it("takes the forms of one typed character for the same", async () => {
    assert.equal(await verifyPassword("cafe\u0301 au lait", await hashPassword("caf\u00e9 au lait")), true);
  });

  it("makes hashes that no password fits", async () => {
    assert.equal(await verifyPassword("", impossiblePasswordHash()), false);
  });

  for (const phc of [
    "",
    "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    "$2y$10$abcdefghijklmnopqrstuv",
  ])
    it(`refuses ${phc.slice(0, 34) || "an empty string"}`, async () => {
      await assert.rejects(verifyPassword("password", phc), (error) => isContentError(error, "invalid"));
    });

  it("are checked for in the configuration", () => {
    const config = { cluster: "c", dataDir: "d" };
    assert.equal(
      authConfigSchema.parse({ ...config, bootstrap: { adminPasswordHash: REFERENCE } }).accessTokenLifetimeS,
      900,
    );
    assert.throws(() => authConfigSchema.parse({ ...config, bootstrap: { adminPasswordHash: "password" } }));
    assert.throws(() => authConfigSchema.parse({ ...config, accessTokenLifetimeS: 60 }));
  });
});
