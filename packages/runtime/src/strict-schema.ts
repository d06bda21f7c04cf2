import type { z } from "zod";

const checked = new WeakSet<object>();

/**
 * Throws TypeError when any object within the schema would silently drop unknown keys: a misspelt key would then be
 * ignored for ever. Use `z.strictObject`, or `z.looseObject` and `z.record` where any key is meant.
 */
export function assertStrict(schema: z.ZodType): void {
  walk(schema, "");
}

function walk(schema: unknown, path: string): void {
  if (!isSchema(schema) || checked.has(schema)) return;
  checked.add(schema);
  const definition = schema._zod.def;
  if (definition.type === "object") {
    if (definition.catchall === undefined) throw new TypeError(`the schema at "${path}" must be a z.strictObject`);
    for (const [key, value] of Object.entries(definition.shape as object)) walk(value, `${path}.${key}`);
    return;
  }
  if (definition.type === "lazy") walk((definition.getter as () => unknown)(), path);
  for (const value of Object.values(definition)) {
    for (const inner of Array.isArray(value) ? value : [value]) walk(inner, path);
  }
}

interface Inner {
  readonly _zod: { readonly def: Readonly<Record<string, unknown>> };
}

function isSchema(value: unknown): value is Inner {
  return typeof value === "object" && value !== null && "_zod" in value;
}
