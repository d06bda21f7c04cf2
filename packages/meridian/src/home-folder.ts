import { resolve } from "node:path";
import type { CommonOptions } from "./program/command.ts";

/** The dev cluster's data folder: --home, else MERIDIAN_HOME, else .meridian here. */
export function homeFolder(options: Pick<CommonOptions, "home">): string {
  return resolve(options.home ?? process.env.MERIDIAN_HOME ?? ".meridian");
}
