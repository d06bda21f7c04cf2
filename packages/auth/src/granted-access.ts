import type { AccessItem, Action, Decider, DecisionContext, Principal, Resource } from "@meridian/policy";
import type { Scope } from "./scope.ts";

const REPOSITORY_ACTIONS = ["pull", "push", "delete"] as const satisfies readonly Action[];

/** The `access` claim for what is asked: whatever the policy does not grant now is left out. */
export function grantedAccess(
  principal: Principal,
  scopes: readonly Scope[],
  decider: Decider,
  context: DecisionContext,
): readonly AccessItem[] {
  const may = (action: Action, resource: Resource): boolean =>
    decider.decide(principal, action, resource, context).allow;
  const access: AccessItem[] = [];
  for (const { type, name, actions } of scopes) {
    const granted =
      type === "repository" ? repositoryActions(name, actions, may) : registryActions(type, name, actions, may);
    if (granted.length > 0) access.push({ type, name, actions: granted });
  }
  return access;
}

/** `*` asks for everything: it is in the token only beside all three actions. */
function repositoryActions(
  name: string,
  asked: ReadonlySet<string>,
  may: (action: Action, resource: Resource) => boolean,
): string[] {
  const resource = { kind: "repository", name } as const;
  const everything = asked.has("*");
  const granted: string[] = REPOSITORY_ACTIONS.filter(
    (action) => (everything || asked.has(action)) && may(action, resource),
  );
  if (everything && granted.length === REPOSITORY_ACTIONS.length) granted.push("*");
  return granted;
}

function registryActions(
  type: string,
  name: string,
  asked: ReadonlySet<string>,
  may: (action: Action, resource: Resource) => boolean,
): string[] {
  const isCatalog = type === "registry" && name === "catalog" && asked.has("*");
  return isCatalog && may("catalog", { kind: "registry" }) ? ["*"] : [];
}
