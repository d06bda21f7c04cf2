import { existsSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { join } from "node:path";

/**
 * Keeps the compiled form of what this process loads from now on in the dev cluster's data folder, and takes it from
 * there the next time. Does nothing without such a folder (unless the command is about to make it), or where
 * NODE_COMPILE_CACHE names another place.
 */
export function keepCompiledCode(home: string, options: { readonly makesHome: boolean }): void {
  if (options.makesHome || existsSync(join(home, "run.json"))) enableCompileCache(compiledCodeFolder(home));
}

/** The folder of compiled code in the dev cluster's data folder; its processes share it. */
function compiledCodeFolder(home: string): string {
  return join(home, "compile-cache");
}
