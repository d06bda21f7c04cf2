import { describeSetting, type RepositorySettingsTable, SETTING_NAMES, type SettingName } from "@meridian/policy";
import { z } from "zod";
import { repositoryNeed } from "../access.ts";
import { administer } from "../administer.ts";
import { CacheControl, sendJson } from "../answer.ts";
import { type ChangeSettingsParts, changeSettings } from "../change-settings.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";

const MAX_VALUE_LENGTH = 4_096;

const changeSchema = z.strictObject({
  /** A repository's name or whole components in front of one; empty for every repository. */
  prefix: z.string().max(255),
  /** Name → value, e.g. `"tags": "home:eu"`; an empty value takes what the next shorter prefix says. */
  values: z.record(z.string().max(64), z.string().max(MAX_VALUE_LENGTH)),
  /** Moves a home of tags although a site that decided about them does not acknowledge. */
  acceptLoss: z.boolean().default(false),
});

/** `GET|PUT /v2/_meridian/settings`: what is set for repositories, by prefix. For administrators. */
export function settingsRoute(parts: ChangeSettingsParts): ResourceHandlers {
  return {
    GET: (exchange) =>
      administer(exchange, parts, async (auth, token) => {
        const { settings, revision } = await auth.listRepositorySettings({ token });
        return { revision, settings: settings.map(({ prefix, values }) => ({ prefix, values })) };
      }),
    PUT: async (exchange) => {
      const change = await readJson(exchange, changeSchema);
      sendJson(
        exchange,
        200,
        [...parts.answers.fixed, "Cache-Control", CacheControl.never],
        await changeSettings(exchange, change, parts),
      );
    },
  };
}

/** `GET /v2/<name>/_meridian/settings`: what holds for a repository, and which prefix says so. For those who may pull. */
export function repositorySettingsRoute({ access, settings, answers, decider }: ChangeSettingsParts): ResourceHandlers {
  return {
    GET: async (exchange, { name }) => {
      await access.admit(exchange, repositoryNeed(name, "pull"));
      const inForce = settings.of(name);
      const described = SETTING_NAMES.flatMap((one) => describedAt(one, inForce));
      sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], {
        repository: name,
        revision: decider.revision,
        settings: Object.fromEntries(described),
      });
    },
  };
}

function describedAt<N extends SettingName>(
  name: N,
  inForce: ReturnType<RepositorySettingsTable["of"]>,
): [N, { value: string; prefix: string }][] {
  const found = inForce[name];
  return found === undefined ? [] : [[name, { value: describeSetting(name, found.value), prefix: found.prefix }]];
}
