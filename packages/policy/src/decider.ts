import { policyV1 } from "@meridian/wire";
import type { Action, Decider, Decision, DecisionContext, Principal, Resource } from "./decision.ts";
import { GenerationCache } from "./generation-cache.ts";
import type { PolicyState } from "./state.ts";

/** What requests without credentials may do beside what grants to "*" say: nothing, pull everything, or everything. */
export type AnonymousAccess = "off" | "pull" | "admin";

/** What the decider looks at. */
export interface DeciderSource {
  readonly state: PolicyState;
  /** True when the policy is too old to be followed. */
  readonly expired: boolean;
  ageMs(): number;
}

const MAX_CACHED_PRINCIPALS = 4_096;
const MAX_CACHED_RESOURCES = 1_024;
/** Stands for the registry itself; no repository has this name. */
const REGISTRY = "";
const ANONYMOUS = "";

const ROLE_NAMES: Readonly<Record<number, string>> = {
  [policyV1.Role.PULL]: "pull",
  [policyV1.Role.PUSH]: "push",
  [policyV1.Role.ADMIN]: "admin",
};

type ByResource = GenerationCache<string, Decision>;

/**
 * Decides by the grants of the policy log; what none allows is denied. Decisions are cached per (principal, action,
 * resource) for one revision.
 */
export class GrantDecider implements Decider {
  readonly #source: DeciderSource;
  readonly #anonymous: AnonymousAccess;
  readonly #cache = new Map<Action, GenerationCache<string, ByResource>>();
  #cachedSeq = -1;

  constructor(source: DeciderSource, anonymous: AnonymousAccess) {
    this.#source = source;
    this.#anonymous = anonymous;
  }

  get revision(): string {
    return this.#source.state.revision;
  }

  ageMs(): number {
    return this.#source.ageMs();
  }

  decide(principal: Principal, action: Action, resource: Resource, _context: DecisionContext): Decision {
    if (principal.superuser) return { allow: true, policyId: "anonymous-admin", revision: this.revision };
    if (this.#source.expired) return { allow: false, policyId: "policy-expired", revision: this.revision };
    const cache = this.#cacheOf(principal.name ?? ANONYMOUS, action);
    const name = resource.kind === "repository" ? resource.name : REGISTRY;
    const known = cache.get(name);
    if (known) return known;
    const policyId = this.#allowedBy(principal.name, action, resource);
    const decision = policyId.startsWith("!")
      ? { allow: false, policyId: policyId.slice(1), revision: this.revision }
      : { allow: true, policyId, revision: this.revision };
    cache.set(name, decision);
    return decision;
  }

  #cacheOf(principal: string, action: Action): ByResource {
    const { seq } = this.#source.state;
    if (seq !== this.#cachedSeq) {
      this.#cache.clear();
      this.#cachedSeq = seq;
    }
    let byPrincipal = this.#cache.get(action);
    if (!byPrincipal) {
      byPrincipal = new GenerationCache(MAX_CACHED_PRINCIPALS);
      this.#cache.set(action, byPrincipal);
    }
    let byResource = byPrincipal.get(principal);
    if (!byResource) {
      byResource = new GenerationCache(MAX_CACHED_RESOURCES);
      byPrincipal.set(principal, byResource);
    }
    return byResource;
  }

  /** The rule that decides; with "!" in front when it denies. */
  #allowedBy(name: string | undefined, action: Action, resource: Resource): string {
    if (name === undefined && this.#anonymous === "admin") return "anonymous-admin";
    if (name !== undefined) {
      const user = this.#source.state.users.get(name);
      if (!user) return "!unknown-user";
      if (user.disabled) return "!disabled-user";
    }
    const grant =
      (name !== undefined ? this.#grantFor(name, action, resource) : undefined) ??
      this.#grantFor("*", action, resource);
    if (grant) return `grant/${grant.principal}/${grant.repositoryPrefix}/${ROLE_NAMES[grant.role]}`;
    if (this.#anonymous === "pull" && action === "pull" && resource.kind === "repository") return "anonymous-pull";
    return "!default-deny";
  }

  #grantFor(principal: string, action: Action, resource: Resource): policyV1.Grant | undefined {
    return this.#source.state.grants
      .get(principal)
      ?.find((grant) => covers(grant.repositoryPrefix, resource) && permits(grant.role, action));
  }
}

/** A prefix covers itself and whole path components below it; only the empty one covers the registry. */
function covers(prefix: string, resource: Resource): boolean {
  if (prefix === "") return true;
  if (resource.kind !== "repository") return false;
  const { name } = resource;
  return name.startsWith(prefix) && (name.length === prefix.length || name[prefix.length] === "/");
}

function permits(role: policyV1.Role | number, action: Action): boolean {
  if (role === policyV1.Role.ADMIN) return true;
  if (action === "pull") return role === policyV1.Role.PULL || role === policyV1.Role.PUSH;
  return (action === "push" || action === "delete") && role === policyV1.Role.PUSH;
}
