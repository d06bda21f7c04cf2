import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import { systemRandom } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import { decodeProtectedHeader, jwtVerify } from "jose";
import { Changes } from "./changes.ts";
import { userDoc } from "./cluster.fixture.ts";
import { type PolicyDoc, signingKeyKey, userKey } from "./entry-key.ts";
import { signJwt } from "./jwt.ts";
import { PolicyState } from "./state.ts";
import { createTokenSigner } from "./token-signer.ts";
import { createTokenVerifier, type SyncTokenVerifier } from "./token-verifier.ts";

const AUDIENCE = "the cluster";
const removed: PolicyDoc = { case: "removed", value: create(policyV1.RemovedSchema) };
const access = [
  { type: "repository", name: "apps/web", actions: ["pull", "push"] },
  { type: "registry", name: "catalog", actions: ["*"] },
];

class Bench {
  readonly state = new PolicyState();
  readonly #changes = new Changes();
  nowMs = 1_700_000_000_000;
  readonly clock = { now: () => this.nowMs, monotonic: () => this.nowMs };
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  readonly verifier: SyncTokenVerifier;

  constructor() {
    const pair = generateKeyPairSync("ed25519");
    this.publicKey = pair.publicKey;
    this.privateKey = pair.privateKey;
    this.put(userKey("bob"), userDoc("bob"));
    this.putKey("key-1", "us", pair.publicKey);
    const subscribe = (listener: () => void) => this.#changes.subscribe(listener);
    this.verifier = createTokenVerifier({
      policy: { state: this.state, subscribe },
      audience: AUDIENCE,
      clock: this.clock,
    });
  }

  put(key: string, doc: PolicyDoc): void {
    const seq = BigInt(this.state.seq + 1);
    const baseRev = BigInt(this.state.revisionOf(key));
    this.state.apply(create(policyV1.EntrySchema, { epoch: { number: 1n, site: "eu" }, seq, baseRev, key, doc }));
    this.#changes.emit();
  }

  putKey(keyId: string, site: string, publicKey: KeyObject): void {
    const raw = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url");
    this.put(signingKeyKey(keyId), {
      case: "signingKey",
      value: create(policyV1.SigningKeySchema, { keyId, site, publicKey: raw }),
    });
  }

  signer(changes: { keyId?: string; site?: string; audience?: string; privateKey?: KeyObject } = {}) {
    const { clock, privateKey } = this;
    const defaults = { keyId: "key-1", site: "us", audience: AUDIENCE, privateKey, clock, random: systemRandom };
    return createTokenSigner({ ...defaults, ...changes });
  }

  token(changes: Parameters<Bench["signer"]>[0] & { subject?: string; lifetimeS?: number } = {}): string {
    return this.signer(changes).access({
      subject: changes.subject ?? "bob",
      access,
      lifetimeS: changes.lifetimeS ?? 900,
    });
  }

  /** A token with these claims changed. */
  forged(claims: Record<string, unknown>, type: "JWT" | "refresh+jwt" = "JWT"): string {
    const now = this.nowMs / 1000;
    const payload = { iss: "meridian/us", sub: "bob", aud: AUDIENCE, exp: now + 900, access, ...claims };
    return signJwt({ type, keyId: "key-1", privateKey: this.privateKey, payload });
  }
}

describe("access tokens", () => {
  it("carry identity and scopes", () => {
    const bench = new Bench();
    const claims = bench.verifier.verify(bench.token());
    assert.equal(claims?.principal.name, "bob");
    assert.equal(claims?.expiresAt, bench.nowMs / 1000 + 900);
    assert.deepEqual(
      [...claims!.scopes].map(([name, actions]) => [name, [...actions]]),
      [
        ["apps/web", ["pull", "push"]],
        ["registry:catalog", ["*"]],
      ],
    );
    assert.equal(bench.verifier.verify(bench.token({ subject: "" }))?.principal.name, undefined);
  });

  it("are standard JWTs", async () => {
    const bench = new Bench();
    const token = bench.token();
    const { payload } = await jwtVerify(token, bench.publicKey, {
      audience: AUDIENCE,
      issuer: "meridian/us",
      currentDate: new Date(bench.nowMs),
    });
    assert.deepEqual(Object.keys(payload).toSorted(), ["access", "aud", "exp", "iat", "iss", "jti", "nbf", "sub"]);
    assert.deepEqual(decodeProtectedHeader(token), { alg: "EdDSA", typ: "JWT", kid: "key-1" });
  });

  it("are the same for who asks for the same within one second, and no others", () => {
    const bench = new Bench();
    const signer = bench.signer();
    const asked = { subject: "bob", access, lifetimeS: 900 };
    const first = signer.access(asked);
    bench.nowMs += 999;
    assert.equal(signer.access({ ...asked, access: structuredClone(access) }), first);
    const others = [
      { ...asked, subject: "" },
      { ...asked, lifetimeS: 901 },
      { ...asked, access: access.slice(1) },
    ].map((other) => signer.access(other));
    bench.nowMs += 1;
    others.push(signer.access(asked));
    assert.equal(new Set([first, ...others]).size, 5);
    for (const token of [first, ...others.slice(1)]) assert.equal(bench.verifier.verify(token)?.principal.name, "bob");
  });

  it("are remembered by their string until they expire, a minute's leeway included", () => {
    const bench = new Bench();
    const token = bench.token();
    const claims = bench.verifier.verify(token);
    assert.equal(bench.verifier.verify(token), claims);
    bench.nowMs += 959_000;
    assert.equal(bench.verifier.verify(token), claims);
    bench.nowMs += 1_000;
    assert.equal(bench.verifier.verify(token), undefined);
    assert.equal(bench.verifier.verify(token), undefined, "and is not taken for new");
  });

  it("are refused at once when their user is removed or disabled, or their key revoked", () => {
    for (const revoke of [
      (bench: Bench) => bench.put(userKey("bob"), removed),
      (bench: Bench) => bench.put(userKey("bob"), userDoc("bob", "hash", true)),
      (bench: Bench) => bench.put(signingKeyKey("key-1"), removed),
    ]) {
      const bench = new Bench();
      const token = bench.token();
      assert.ok(bench.verifier.verify(token));
      revoke(bench);
      assert.equal(bench.verifier.verify(token), undefined);
    }
  });

  it("are refused when anything about them is wrong", () => {
    const bench = new Bench();
    const other = generateKeyPairSync("ed25519").privateKey;
    const now = bench.nowMs / 1000;
    const good = bench.token();
    const [header, payload, signature] = good.split(".") as [string, string, string];
    const none = Buffer.from('{"alg":"none","typ":"JWT","kid":"key-1"}').toString("base64url");
    const bad: Record<string, string> = {
      "another key": bench.token({ privateKey: other }),
      "an unknown key": bench.token({ keyId: "key-2" }),
      "another audience": bench.token({ audience: "another cluster" }),
      "another site's issuer": bench.token({ site: "eu" }),
      "an unknown user": bench.token({ subject: "eve" }),
      "an expired one": bench.forged({ exp: now - 60 }),
      "no expiry": bench.forged({ exp: undefined }),
      "one of the future": bench.forged({ nbf: now + 61 }),
      "a list of audiences": bench.forged({ aud: [AUDIENCE] }),
      "a refresh token": bench.forged({}, "refresh+jwt"),
      "no algorithm": `${none}.${payload}.${signature}`,
      "no signature": `${header}.${payload}.`,
      "another payload": `${header}.${Buffer.from("{}").toString("base64url")}.${signature}`,
      "four parts": `${good}.x`,
      padding: `${good}=`,
      nonsense: "nonsense",
      nothing: "",
      "too long a one": bench.forged({ padding: "x".repeat(17_000) }),
    };
    for (const [name, token] of Object.entries(bad)) assert.equal(bench.verifier.verify(token), undefined, name);
    assert.ok(bench.verifier.verify(good));
    assert.ok(bench.verifier.verify(bench.forged({})), "the forger's own good token is accepted");
  });
});
