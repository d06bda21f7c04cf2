import { type Command, InvalidArgumentError, Option } from "commander";
import { command } from "./command.ts";

/** `meridian dev`. */
export function addDev(program: Command): void {
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
    .option("--replicators <n>", "replicators per site, one of them at work (with --nats)", count, 1)
    .option("--links", "delay proxies between sites, for the `link` commands")
    .option("--rtt <pairs>", "round trips in milliseconds, e.g. eu-us=80,eu-ap=160 (implies --links)")
    .option("--redis <url>", "share limits and logins by this Redis, e.g. redis://127.0.0.1:6379")
    .option("--otlp <url>", "export traces to this OTLP/HTTP endpoint, e.g. http://127.0.0.1:4318")
    .option(
      "--s3 <url>",
      "keep blobs in this S3 service, a bucket per site, e.g. http://127.0.0.1:9000; credentials: AWS_*",
    )
    .option("--config <file>", "YAML laid over each process's configuration")
    .action(async (options) => (await import("../commands/dev.ts")).runDev(options));
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
