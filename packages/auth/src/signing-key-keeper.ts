import { create } from "@bufbuild/protobuf";
import { createTokenSigner, type Policy, signingKeyKey, type TokenSigner } from "@meridian/policy";
import type { Clock, Logger, Random } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import { openSigningKey, replaceSigningKey, type SigningKeyPair } from "./signing-key-file.ts";

/** What {@link SigningKeyKeeper} needs. */
export interface SigningKeyKeeperOptions {
  readonly policy: Policy;
  /** Where the private key is kept. */
  readonly folder: string;
  /** The cluster's name. */
  readonly cluster: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

/** Keeps the site's signing key published in the policy log, and gives it out only while it is effective there. */
export class SigningKeyKeeper {
  readonly #options: SigningKeyKeeperOptions;
  #pair: SigningKeyPair;
  #signer: TokenSigner;

  private constructor(options: SigningKeyKeeperOptions, pair: SigningKeyPair) {
    this.#options = options;
    this.#pair = pair;
    this.#signer = this.#signerOf(pair);
  }

  /** Reads or makes the key. Publishing it is {@link SigningKeyKeeper.publish}. */
  static async open(options: SigningKeyKeeperOptions): Promise<SigningKeyKeeper> {
    return new SigningKeyKeeper(options, await openSigningKey(options.folder));
  }

  /** Undefined while the key is not effective. */
  get signer(): TokenSigner | undefined {
    return this.isPublished ? this.#signer : undefined;
  }

  get isPublished(): boolean {
    return this.#options.policy.state.keys.has(this.#pair.keyId);
  }

  /**
   * Makes the key effective; a new one when the old was revoked.
   * @throws ContentError `unavailable` when the policy home or its majority is away.
   */
  async publish(options: { signal: AbortSignal }): Promise<void> {
    const { policy, folder, log } = this.#options;
    if (this.isPublished) return;
    if (policy.state.revisionOf(signingKeyKey(this.#pair.keyId)) > 0) {
      log.warn("the site's signing key was revoked: making a new one", { keyId: this.#pair.keyId });
      this.#pair = await replaceSigningKey(folder);
      this.#signer = this.#signerOf(this.#pair);
    }
    const { keyId, publicKey } = this.#pair;
    const value = create(policyV1.SigningKeySchema, { site: policy.site, keyId, publicKey });
    const key = signingKeyKey(keyId);
    const doc = { case: "signingKey", value } as const;
    await policy.propose({ key, doc, baseRev: 0, who: `${policy.site}/auth` }, options);
  }

  #signerOf({ privateKey, keyId }: SigningKeyPair): TokenSigner {
    const { policy, cluster, clock, random } = this.#options;
    return createTokenSigner({ privateKey, keyId, site: policy.site, audience: cluster, clock, random });
  }
}
