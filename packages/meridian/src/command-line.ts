import { Command } from "commander";
import { keepCompiledCode } from "./compiled-code.ts";
import { homeFolder } from "./home-folder.ts";
import { addClientConfig } from "./program/client-config.ts";
import type { CommonOptions } from "./program/command.ts";
import { addDev } from "./program/dev.ts";
import { addDiff } from "./program/diff.ts";
import { addFaults } from "./program/faults.ts";
import { addCollection } from "./program/gc.ts";
import { addLogin } from "./program/login.ts";
import { addNode } from "./program/node.ts";
import { addRepo } from "./program/repo.ts";
import { addRoute } from "./program/route.ts";
import { addScrub } from "./program/scrub.ts";
import { addServe } from "./program/serve.ts";
import { addSite } from "./program/site.ts";
import { addReplication, addStatus } from "./program/status.ts";
import { addTag } from "./program/tag.ts";
import { addUser } from "./program/user.ts";
import { version } from "./version.ts";

/** The whole command line. Each command's code is loaded only when it runs. */
export function createProgram(): Command {
  const program = new Command("meridian")
    .description("A geo-replicated registry cluster for container images and every other OCI artifact.")
    .version(version)
    .showHelpAfterError("(--help lists the options)")
    .exitOverride()
    .hook("preAction", (_program, command) => {
      keepCompiledCode(homeFolder(command.opts<CommonOptions>()), { makesHome: command.name() === "dev" });
    });
  addDev(program);
  addServe(program);
  addStatus(program);
  addReplication(program);
  addLogin(program);
  addClientConfig(program);
  addUser(program);
  addRepo(program);
  addTag(program);
  addScrub(program);
  addCollection(program);
  addDiff(program);
  addNode(program);
  addRoute(program);
  addFaults(program, addSite(program));
  return program;
}
