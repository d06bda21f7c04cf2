import type { policyV1 } from "@meridian/wire";
import { GenerationCache } from "./generation-cache.ts";
import { SETTING_NAMES, type SettingName, type SettingValue } from "./repository-settings.ts";

/** A value, and the prefix whose entry says so. */
export interface SettingInForce<N extends SettingName> {
  readonly value: SettingValue<N>;
  /** Empty for every repository. */
  readonly prefix: string;
}

/** What holds for one repository: each setting by itself is that of the longest prefix which has it. */
export type RepositorySettings = { readonly [N in SettingName]?: SettingInForce<N> };

const MAX_REMEMBERED = 4_096;
const NOTHING_SET: RepositorySettings = {};

/** What is set for repositories, by prefix: whole path components, as in grants. Asked at requests, so it remembers. */
export class RepositorySettingsTable {
  readonly #byPrefix = new Map<string, policyV1.RepositorySettings>();
  readonly #found = new GenerationCache<string, RepositorySettings>(MAX_REMEMBERED);

  /** What holds for a repository; also for a prefix, which is what holds below it unless a longer one says otherwise. */
  of(repository: string): RepositorySettings {
    if (this.#byPrefix.size === 0) return NOTHING_SET;
    const known = this.#found.get(repository);
    if (known !== undefined) return known;
    const found = this.#find(repository);
    this.#found.set(repository, found);
    return found;
  }

  /** The entry at just this prefix. */
  at(prefix: string): policyV1.RepositorySettings | undefined {
    return this.#byPrefix.get(prefix);
  }

  /** Every entry, in order of prefix. */
  entries(): policyV1.RepositorySettings[] {
    return [...this.#byPrefix.values()].toSorted((a, b) => (a.prefix < b.prefix ? -1 : 1));
  }

  put(settings: policyV1.RepositorySettings): void {
    this.#byPrefix.set(settings.prefix, settings);
    this.#found.clear();
  }

  remove(prefix: string): void {
    this.#byPrefix.delete(prefix);
    this.#found.clear();
  }

  #find(repository: string): RepositorySettings {
    const held = prefixesOf(repository).flatMap((prefix) => this.#byPrefix.get(prefix) ?? []);
    return held.length === 0 ? NOTHING_SET : Object.assign({}, ...SETTING_NAMES.map((name) => inForce(name, held)));
  }
}

function inForce<N extends SettingName>(
  name: N,
  longestFirst: readonly policyV1.RepositorySettings[],
): RepositorySettings {
  const entry = longestFirst.find((settings) => settings[name] !== undefined);
  return entry === undefined ? NOTHING_SET : { [name]: { value: entry[name], prefix: entry.prefix } };
}

/** The name, each path in front of it, and the empty one: the longest first. */
function prefixesOf(repository: string): string[] {
  const prefixes = [repository];
  for (let at = repository.lastIndexOf("/"); at > 0; at = repository.lastIndexOf("/", at - 1))
    prefixes.push(repository.slice(0, at));
  if (repository !== "") prefixes.push("");
  return prefixes;
}
