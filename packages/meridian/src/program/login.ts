import type { Command } from "commander";
import { command, serverCommand } from "./command.ts";

/** `meridian login` and `logout`. */
export function addLogin(program: Command): void {
  serverCommand(program, "login <server>", "Check a user's password and keep it for later commands.")
    .requiredOption("-u, --username <name>", "user name")
    .option("--password-stdin", "read the password from standard input (else it is asked for)")
    .action(async (server, options) => (await import("../commands/login.ts")).runLogin(server, options));
  command(program, "logout <server>", "Forget what `login` kept for a server.").action(async (server) =>
    (await import("../commands/login.ts")).runLogout(server),
  );
}
