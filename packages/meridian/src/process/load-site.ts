import { statSync } from "node:fs";
import { ConfigError, loadConfigFile } from "@meridian/runtime";
import { usageError } from "../exit-status.ts";
import { type SiteConfig, type SiteSecrets, secretsSchema, siteConfigSchema } from "./site-config.ts";

/** A configuration with the secrets that it names. */
export interface LoadedSite {
  /** The configuration's file: read again when it changes, for the topology. */
  readonly path: string;
  readonly config: SiteConfig;
  readonly secrets: SiteSecrets;
}

/** @throws CommandError (exit code 2) with one line per problem. */
export async function loadSite(path: string): Promise<LoadedSite> {
  try {
    const config = await loadConfigFile(siteConfigSchema, path);
    const secrets = await loadConfigFile(secretsSchema, config.secretsFile);
    if ((statSync(config.secretsFile).mode & 0o077) !== 0) {
      throw usageError(`${config.secretsFile} may be read by others: chmod 600 ${config.secretsFile}`);
    }
    return { path, config, secrets };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw usageError(error.problems.map((problem) => `${error.source}: ${problem}`).join("\n"), { cause: error });
  }
}
