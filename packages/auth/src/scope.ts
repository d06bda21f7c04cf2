import { ContentError, ContentErrorKind } from "@meridian/oci";

/** One resource that a client asks a token for. */
export interface Scope {
  /** `repository` or `registry`; others are well-formed, and never granted. */
  readonly type: string;
  readonly name: string;
  readonly actions: ReadonlySet<string>;
}

/** Bounds what goes into one token. */
const MAX_SCOPES = 100;
const MAX_SCOPE_LENGTH = 1_024;

const TYPE = /^[a-z0-9]+(?:\([a-z0-9]+\))?$/;
const ACTIONS = /^(?:(?:\*|[a-z]+)(?:,(?:\*|[a-z]+))*)?$/;
const COMPONENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const HOST = "[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?";
const REPOSITORY = new RegExp(`^(?:${HOST}/)?${COMPONENT}(?:/${COMPONENT})*$`);
const OTHER_NAME = /^[A-Za-z0-9._/:-]+$/;

/**
 * Reads scopes as Docker's token specification writes them (`type:name:actions`, the name possibly with a host and
 * port), given repeatedly or separated by spaces. Those of one resource are joined.
 * @throws ContentError `invalid` when one is malformed, or there are too many.
 */
export function parseScopes(texts: readonly string[]): readonly Scope[] {
  const scopes = new Map<string, Scope & { actions: Set<string> }>();
  for (const text of texts.flatMap((given) => given.split(/\s+/)).filter((given) => given !== "")) {
    const scope = parseScope(text);
    const key = `${scope.type}:${scope.name}`;
    const held = scopes.get(key);
    scopes.set(key, { ...scope, actions: new Set([...(held?.actions ?? []), ...scope.actions]) });
    if (scopes.size > MAX_SCOPES)
      throw new ContentError(ContentErrorKind.invalid, `a token holds at most ${MAX_SCOPES} scopes`);
  }
  return [...scopes.values()];
}

function parseScope(text: string): Scope {
  const first = text.indexOf(":");
  const last = text.lastIndexOf(":");
  const type = text.slice(0, Math.max(first, 0));
  const name = text.slice(first + 1, Math.max(last, first + 1));
  const actions = text.slice(last + 1);
  const isWellFormed =
    text.length <= MAX_SCOPE_LENGTH &&
    first !== last &&
    TYPE.test(type) &&
    ACTIONS.test(actions) &&
    (isRepository(type) ? REPOSITORY : OTHER_NAME).test(name);
  if (!isWellFormed)
    throw new ContentError(
      ContentErrorKind.invalid,
      `malformed scope "${text.slice(0, 200)}": expected repository:<name>:<actions> or registry:catalog:*`,
    );
  return { type: isRepository(type) ? "repository" : type, name, actions: new Set(actions.split(",").filter(Boolean)) };
}

/** Docker writes a class of a repository, e.g. `repository(plugin)`; it makes no difference here. */
function isRepository(type: string): boolean {
  return type === "repository" || type.startsWith("repository(");
}
