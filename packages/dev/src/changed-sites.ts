import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Which sites the dev cluster runs beside, and instead of, those of `--sites`. */
export interface ChangedSites {
  /** In the order in which they were added: each keeps its ports. */
  readonly added: readonly string[];
  /** Sites that left: they are not run. */
  readonly left: readonly string[];
}

/** What `meridian site add|remove` changed; nothing when there is no file. */
export function readChangedSites(home: string): ChangedSites {
  try {
    return JSON.parse(readFileSync(pathOf(home), "utf8")) as ChangedSites;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { added: [], left: [] };
    throw new Error(`${pathOf(home)} cannot be read: remove it, or mend it`, { cause: error });
  }
}

/** Remembers that a site is run, so that the next start runs it again. */
export function rememberAdded(home: string, site: string): void {
  const { added, left } = readChangedSites(home);
  write(home, { added: [...new Set([...added, site])], left: left.filter((one) => one !== site) });
}

/** Remembers that a site is not run any more. */
export function rememberLeft(home: string, site: string): void {
  const { added, left } = readChangedSites(home);
  write(home, { added, left: [...new Set([...left, site])] });
}

/** All sites that ever were, in the order that their ports follow, and whether each is run. */
export function sitesInOrder(options: {
  readonly home: string;
  readonly sites: readonly string[];
}): readonly { readonly name: string; readonly runs: boolean }[] {
  const { added, left } = readChangedSites(options.home);
  const names = [...new Set([...options.sites, ...added])];
  return names.map((name) => ({ name, runs: !left.includes(name) }));
}

function write(home: string, changed: ChangedSites): void {
  writeFileSync(`${pathOf(home)}.new`, `${JSON.stringify(changed)}\n`);
  renameSync(`${pathOf(home)}.new`, pathOf(home));
}

function pathOf(home: string): string {
  return join(home, "changed-sites.json");
}
