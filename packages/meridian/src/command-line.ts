import { Command, InvalidArgumentError, Option } from "commander";
import { keepCompiledCode } from "./compiled-code.ts";
import { homeFolder } from "./home-folder.ts";
import { version } from "./version.ts";

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
  addUser(program);
  addScrub(program);
  addNode(program);
  addFaults(program);
  return program;
}

function command(parent: Command, usage: string, description: string): Command {
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

function serverCommand(parent: Command, usage: string, description: string): Command {
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

function addDev(program: Command): void {
  command(program, "dev", "Run a whole cluster on this machine: sites eu, us and ap, until Ctrl-C.")
    .option("--sites <n|a,b,c>", "how many sites, or their names", "3")
    .option("--host <address>", "loopback address to listen on", "127.0.0.1")
    .option("--base-port <port>", "port of the first site's gateway; the next site's is one more", port, 5001)
    .option("--http", "plain HTTP at the edge (loopback only)")
    .addOption(
      new Option("--anonymous <level>", "what a client may do without login (loopback only)").choices([
        "pull",
        "admin",
      ]),
    )
    .option("--nats", "one nats-server per site (from PATH) and every service its own process")
    .option("--blob-nodes <n>", "blob nodes per site (with --nats)", count, 1)
    .option("--gateways <n>", "gateways per site (with --nats)", count, 1)
    .option("--links", "delay proxies between sites, for the `link` commands")
    .option("--rtt <pairs>", "round trips in milliseconds, e.g. eu-us=80,eu-ap=160 (implies --links)")
    .option("--redis <url>", "share limits and logins by this Redis, e.g. redis://127.0.0.1:6379")
    .option("--otlp <url>", "export traces to this OTLP/HTTP endpoint, e.g. http://127.0.0.1:4318")
    .option(
      "--s3 <url>",
      "keep blobs in this S3 service, a bucket per site, e.g. http://127.0.0.1:9000; credentials: AWS_*",
    )
    .option("--config <file>", "YAML laid over each process's configuration")
    .action(async (options) => (await import("./commands/dev.ts")).runDev(options));
}

function addServe(program: Command): void {
  command(program, "serve", "Run one process of a cluster in production.")
    .requiredOption("--config <file>", "the process's configuration (YAML)")
    .option("--roles <list>", "run only these roles of the configuration, e.g. gateway,blob-node")
    .action(async (options) => (await import("./commands/serve.ts")).runServe(options));
}

function addStatus(program: Command): void {
  serverCommand(
    program,
    "status",
    "Show the sites, their health and their links. Exits with 1 when a site is not ready.",
  ).action(async (options) => (await import("./commands/status.ts")).runStatus(options));
}

function addReplication(program: Command): void {
  serverCommand(
    program,
    "replication <image>",
    "Show how much of an image each site holds; <image> is name:tag or name@digest, with or without the registry.",
  )
    .option("--wait <sites>", "wait until these sites hold it whole, e.g. us,ap")
    .option("--timeout <duration>", "how long to wait, e.g. 90s or 5m", "60s")
    .action(async (image, options) => (await import("./commands/replication.ts")).runReplication(image, options));
}

function addLogin(program: Command): void {
  serverCommand(program, "login <server>", "Check a user's password and keep it for later commands.")
    .requiredOption("-u, --username <name>", "user name")
    .option("--password-stdin", "read the password from standard input (else it is asked for)")
    .action(async (server, options) => (await import("./commands/login.ts")).runLogin(server, options));
  command(program, "logout <server>", "Forget what `login` kept for a server.").action(async (server) =>
    (await import("./commands/login.ts")).runLogout(server),
  );
}

function addUser(program: Command): void {
  const user = program.command("user").description("Administer users and what they may do.").exitOverride();
  const lazy = () => import("./commands/user.ts");
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

function addScrub(program: Command): void {
  const scrub = program
    .command("scrub")
    .description("Look after stored copies: re-hash them, set bad ones aside and fetch them again.")
    .exitOverride();
  const lazy = () => import("./commands/scrub.ts");
  serverCommand(scrub, "status [site]", "Show how far each blob node is, and what is wrong with its copies.").action(
    async (site, options) => (await lazy()).runScrubStatus(site, options),
  );
  serverCommand(scrub, "start [site]", "Re-hash now, or go on after a pause; without a site: at all of them.")
    .option("--wait", "wait until it is done; exits with 1 when blobs have no right copy on their node then")
    .action(async (site, options) => (await lazy()).runScrubStart(site, options));
  serverCommand(scrub, "pause [site]", "Stop re-hashing until it is started again, over restarts too.").action(
    async (site, options) => (await lazy()).runScrubPause(site, options),
  );
}

function addNode(program: Command): void {
  const node = program.command("node").description("Look after the blob nodes of a site.").exitOverride();
  const lazy = () => import("./commands/node.ts");
  const waiting = (one: Command): Command =>
    one
      .option("--wait", "wait until every copy is where it belongs, and show the progress")
      .option("--timeout <duration>", "how long to wait, e.g. 90s or 30m", "1h");
  serverCommand(
    node,
    "list [site]",
    "List blob nodes: state, what they hold, room left, and copies that are not where they belong.",
  ).action(async (site, options) => (await lazy()).runNodeList(site, options));
  waiting(
    serverCommand(
      node,
      "add <site/node>",
      "Let a blob node take bytes: one that was drained, or one that the configuration names now. In the dev cluster it is made and started.",
    ),
  ).action(async (name, options) => (await lazy()).runNodeAdd(name, options));
  waiting(
    serverCommand(
      node,
      "drain <site/node>",
      "Take no new bytes on a blob node and move what it holds to others, until it is empty.",
    ),
  ).action(async (name, options) => (await lazy()).runNodeDrain(name, options));
}

function addFaults(program: Command): void {
  const lazy = () => import("./commands/faults.ts");
  const group = (name: string, description: string): Command =>
    program.command(name).description(description).exitOverride();

  const site = group("site", "Stop, kill or start a site of the running dev cluster.");
  for (const [verb, text] of [
    ["stop", "Stop a site in good order"],
    ["kill", "Kill every process of a site (SIGKILL)"],
    ["start", "Start a site again"],
  ] as const) {
    command(site, `${verb} <site>`, `${text}; it stays so.`).action(async (name, options) =>
      (await lazy()).siteFault(verb, name, options),
    );
  }
  const one = group("process", "Stop, kill or start one process of the running dev cluster.");
  command(one, "kill <site/process>", "Kill a process (SIGKILL); the supervisor starts it again.")
    .option("--hold", "leave it down")
    .action(async (name, options) => (await lazy()).processFault("kill", name, options));
  for (const verb of ["stop", "start"] as const) {
    command(one, `${verb} <site/process>`, `${verb === "stop" ? "Stop" : "Start"} a process.`).action(
      async (name, options) => (await lazy()).processFault(verb, name, options),
    );
  }
  const link = group("link", "Cut, heal, delay or limit a link of the running dev cluster (which needs --links).");
  command(link, "cut <A-B>", "Drop silently what the two sites send each other; sockets stay open.")
    .option("--one-way", "only what A sends to B")
    .option("--reset", "close the sockets instead")
    .action(async (pair, options) => (await lazy()).linkCut(pair, options));
  command(link, "heal <A-B>", "Let everything pass again.")
    .option("--one-way", "only what A sends to B")
    .action(async (pair, options) => (await lazy()).linkHeal(pair, options));
  command(link, "delay <A-B> <ms>", "Set the round trip in milliseconds.").action(async (pair, ms, options) =>
    (await lazy()).linkDelay(pair, ms, options),
  );
  command(link, "limit <A-B> <rate>", 'Set bytes a second, e.g. 20MB; "none" lifts it.').action(
    async (pair, rate, options) => (await lazy()).linkLimit(pair, rate, options),
  );
  const clock = group("clock", "Shift a site's clock in the running dev cluster.");
  command(clock, "skew <site> <ms>", "Shift the site's wall clock, e.g. +5000; 0 puts it right.")
    .allowUnknownOption()
    .action(async (name, ms, options) => (await lazy()).clockSkew(name, ms, options));
}

function port(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 55_000)
    throw new InvalidArgumentError("a port from 1 to 55000 is wanted.");
  return value;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 16)
    throw new InvalidArgumentError("a number from 1 to 16 is wanted.");
  return value;
}
