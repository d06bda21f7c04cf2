import { clone, create, type Message } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import { policyV1 } from "@meridian/wire";
import type { PolicyDoc } from "./entry-key.ts";
import { formatPlacement, parsePlacement } from "./repository-placement.ts";

/** What can be set for repositories, by the names that users give it: the fields of the entry but its prefix. */
export type SettingName = Exclude<keyof policyV1.RepositorySettings, keyof Message | "prefix">;

/** The value of one setting, as an entry holds it. */
export type SettingValue<N extends SettingName> = NonNullable<policyV1.RepositorySettings[N]>;

/** How users write a setting, as in `tags=home:eu`. */
interface SettingFormat<N extends SettingName> {
  /** What may be written, for messages. */
  readonly words: string;
  /** Undefined when the text is no value; `members` are the sites of the cluster. */
  parse(text: string, members: readonly string[]): SettingValue<N> | undefined;
  format(value: SettingValue<N>): string;
}

const HOME = "home:";

/** A new setting is a field of the entry and its line here. */
const FORMATS: { readonly [N in SettingName]: SettingFormat<N> } = {
  tags: {
    words: '"anywhere" or "home:" and a site',
    parse(text, members) {
      if (text === "anywhere") return create(policyV1.TagWritesSchema);
      const home = text.startsWith(HOME) ? text.slice(HOME.length) : undefined;
      return home !== undefined && members.includes(home) ? create(policyV1.TagWritesSchema, { home }) : undefined;
    },
    format({ home, pending, from }) {
      const place = home === "" ? "anywhere" : `${HOME}${home}`;
      return pending ? `${place} (moving there from ${from.join(", ")})` : place;
    },
  },
  placement: {
    words: '"eager", or "lazy" and "never" by site, as in us:lazy,ap:never (all other sites are eager)',
    parse: parsePlacement,
    format: formatPlacement,
  },
  durability: {
    words: '"sites:" and a number from 1 to that of the sites',
    parse(text, members) {
      const sites = /^sites:([1-9]\d{0,3})$/.exec(text)?.[1];
      const wanted = Number(sites ?? 0);
      return wanted >= 1 && wanted <= members.length ? create(policyV1.DurabilitySchema, { sites: wanted }) : undefined;
    },
    format: ({ sites }) => `sites:${Math.max(1, sites)}`,
  },
};

/** Every setting that there is, in order of name. */
export const SETTING_NAMES = (Object.keys(FORMATS) as SettingName[]).toSorted();

/** The settings of an entry as users write them; what it leaves to shorter prefixes is absent. */
export function describeSettings(settings: policyV1.RepositorySettings | undefined): Record<string, string> {
  const values: Record<string, string> = {};
  for (const name of SETTING_NAMES) {
    const text = settings && describe(settings, name);
    if (text !== undefined) values[name] = text;
  }
  return values;
}

function describe<N extends SettingName>(settings: policyV1.RepositorySettings, name: N): string | undefined {
  const value = settings[name];
  return value === undefined ? undefined : describeSetting(name, value);
}

/** One value as users write it. */
export function describeSetting<N extends SettingName>(name: N, value: SettingValue<N>): string {
  return FORMATS[name].format(value);
}

/** What is to be changed at one prefix. */
export interface SettingsChange {
  readonly prefix: string;
  /** The entry that is there; undefined when there is none. */
  readonly held: policyV1.RepositorySettings | undefined;
  /** Name → value as users write it; an empty one takes what the next shorter prefix says. What is not named stays. */
  readonly values: Readonly<Record<string, string>>;
  /** The sites of the cluster. */
  readonly members: readonly string[];
}

/**
 * The document that makes a change: a removal when nothing is left to be set.
 * @throws ContentError `invalid` for a name or value that is not known.
 */
export function changedSettings({ prefix, held, values, members }: SettingsChange): PolicyDoc {
  const settings = held
    ? clone(policyV1.RepositorySettingsSchema, held)
    : create(policyV1.RepositorySettingsSchema, { prefix });
  for (const [name, text] of Object.entries(values)) set(settings, requireName(name), text, members);
  const isEmpty = SETTING_NAMES.every((name) => settings[name] === undefined);
  return isEmpty
    ? { case: "removed", value: create(policyV1.RemovedSchema) }
    : { case: "repositorySettings", value: settings };
}

function set<N extends SettingName>(
  settings: policyV1.RepositorySettings,
  name: N,
  text: string,
  members: readonly string[],
): void {
  if (text === "") {
    delete settings[name];
    return;
  }
  const { parse, words } = FORMATS[name];
  const value = parse(text, members);
  if (value === undefined)
    throw new ContentError(
      ContentErrorKind.invalid,
      `${name}="${text.slice(0, 80)}" is not known: ${words} is wanted; sites are ${members.join(", ")}`,
    );
  settings[name] = value;
}

function requireName(name: string): SettingName {
  const known = SETTING_NAMES.find((one) => one === name);
  if (known) return known;
  throw new ContentError(
    ContentErrorKind.invalid,
    `"${name.slice(0, 80)}" is no setting of repositories: there is ${SETTING_NAMES.join(", ")}`,
  );
}
