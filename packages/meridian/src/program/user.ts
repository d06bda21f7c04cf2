import type { Command } from "commander";
import { command, group, serverCommand } from "./command.ts";

/** `meridian user …`. */
export function addUser(program: Command): void {
  const user = group(program, "user", "Administer users and what they may do.");
  const lazy = () => import("../commands/user.ts");
  command(user, "hash", "Print the argon2id hash of a password, for auth.bootstrap.adminPasswordHash.")
    .option("--password-stdin", "read the password from standard input (else it is asked for)")
    .action(async (options) => (await lazy()).runUserHash(options));
  serverCommand(user, "list", "List users and their grants.").action(async (options) =>
    (await lazy()).runUserList(options),
  );
  serverCommand(user, "add <name>", "Add a user, or set a user's password.")
    .option("--password-stdin", "read the password from standard input (else one is generated and printed)")
    .action(async (name, options) => (await lazy()).runUserAdd(name, options));
  serverCommand(user, "remove <name>", "Remove a user and refuse the user's tokens.").action(async (name, options) =>
    (await lazy()).runUserRemove(name, options),
  );
  serverCommand(
    user,
    "grant <name> <role>",
    'Give a role (pull, push, admin, none) on repositories; the name "*" means everybody, without login too.',
  )
    .option("--repository <prefix>", "on this repository and those below it (default: on all)", "")
    .action(async (name, role, options) => (await lazy()).runUserGrant(name, role, options));
}
