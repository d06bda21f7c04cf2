import { type Command, Option } from "commander";

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly home?: string;
}

/** Options of commands that talk to a cluster. */
export interface ServerOptions extends CommonOptions {
  readonly server?: string;
  readonly ca?: string;
}

/** Adds a command with the options that every command has. */
export function command(parent: Command, usage: string, description: string): Command {
  return parent
    .command(usage)
    .description(description)
    .exitOverride()
    .option("--json", "print JSON")
    .addOption(
      new Option("--log-level <level>", "least level of log lines")
        .choices(["debug", "info", "warn", "error"])
        .default("info"),
    )
    .option("--home <dir>", "data folder of the dev cluster (default: MERIDIAN_HOME, else .meridian)");
}

/** Adds a command that talks to a cluster. */
export function serverCommand(parent: Command, usage: string, description: string): Command {
  return command(parent, usage, description)
    .option(
      "--server <url>",
      "a gateway of the cluster (default: what `meridian login` kept, else the running dev cluster)",
    )
    .option(
      "--ca <file>",
      "PEM file of the certificate authority to trust (default: MERIDIAN_CA, else the system's and the dev cluster's)",
    );
}

/** Adds a word that only groups commands. */
export function group(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description).exitOverride();
}
