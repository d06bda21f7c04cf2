/** Who asks. */
export interface Principal {
  /** The user's name; undefined for an anonymous request. */
  readonly name: string | undefined;
  /** True only under `--anonymous admin` of the dev cluster. */
  readonly superuser?: boolean;
}

/** What is asked for. `catalog` lists repositories; `admin` changes identities and policy. */
export type Action = "pull" | "push" | "delete" | "catalog" | "admin";

/** On what: a repository, or the registry itself. */
export type Resource = { readonly kind: "repository"; readonly name: string } | { readonly kind: "registry" };

/** Facts about the request that a policy may look at. */
export interface DecisionContext {
  readonly site: string;
  readonly clientAddress?: string;
}

/** The one answer to "may they?". */
export interface Decision {
  readonly allow: boolean;
  /** The grant or rule that decided; "default-deny" when none did. */
  readonly policyId: string;
  /** `<epoch>.<rev>` of the policy that decided. */
  readonly revision: string;
}

/** Synchronous and local: it is on the pull path. Cached per (principal, action, resource, revision). */
export interface Decider {
  decide(principal: Principal, action: Action, resource: Resource, context: DecisionContext): Decision;
  /** `<epoch>.<rev>` of the newest effective policy here. */
  readonly revision: string;
  /** How old this site's knowledge of the policy may be, in milliseconds (consistency.md §8, Staleness). */
  ageMs(): number;
}

/** An access token's verified content. */
export interface TokenClaims {
  readonly principal: Principal;
  /** Repository name → actions the token carries ("pull", "push", "delete", "*"); the registry's catalogue as "registry:catalog". */
  readonly scopes: ReadonlyMap<string, ReadonlySet<string>>;
  /** Seconds since the Unix epoch. */
  readonly expiresAt: number;
}

/** Checks access tokens of every site by the keys in the policy log. Synchronous for a token seen before. */
export interface TokenVerifier {
  /** Undefined when the token is not valid (bad signature, expired, unknown key, wrong audience). */
  verify(token: string): TokenClaims | undefined | Promise<TokenClaims | undefined>;
}
