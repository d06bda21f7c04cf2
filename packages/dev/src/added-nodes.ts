import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Blob nodes that `meridian node add` gave a site of the dev cluster, beyond `--blob-nodes`; none when there is no file. */
export function readAddedNodes(home: string, site: string): string[] {
  try {
    return JSON.parse(readFileSync(pathOf(home, site), "utf8")) as string[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new Error(`${pathOf(home, site)} cannot be read: remove it, or mend it`, { cause: error });
  }
}

/** Remembers one, so that the next start runs it again. */
export function writeAddedNode(home: string, site: string, node: string): void {
  const path = pathOf(home, site);
  const nodes = [...new Set([...readAddedNodes(home, site), node])];
  writeFileSync(`${path}.new`, `${JSON.stringify(nodes)}\n`);
  renameSync(`${path}.new`, path);
}

function pathOf(home: string, site: string): string {
  return join(home, "sites", site, "added-nodes.json");
}
