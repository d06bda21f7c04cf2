import { z } from "zod";
import type { LinkFabric } from "./link-fabric.ts";
import type { Supervisor } from "./supervisor.ts";
import { serveCommands } from "./unix-socket.ts";

/** What `meridian site|process|link|clock|node` ask of a running supervisor. */
export const devCommandSchema = z.discriminatedUnion("command", [
  z.strictObject({ command: z.enum(["site-start", "site-stop", "site-kill"]), site: z.string() }),
  z.strictObject({ command: z.enum(["process-start", "process-stop"]), process: z.string() }),
  z.strictObject({ command: z.literal("process-kill"), process: z.string(), hold: z.boolean() }),
  z.strictObject({ command: z.literal("link-cut"), pair: z.string(), oneWay: z.boolean(), reset: z.boolean() }),
  z.strictObject({ command: z.literal("link-heal"), pair: z.string(), oneWay: z.boolean() }),
  z.strictObject({ command: z.literal("link-delay"), pair: z.string(), rttMs: z.number().min(0).max(60_000) }),
  z.strictObject({
    command: z.literal("link-limit"),
    pair: z.string(),
    bytesPerSecond: z.number().positive().optional(),
  }),
  z.strictObject({ command: z.literal("clock-skew"), site: z.string(), offsetMs: z.int() }),
  z.strictObject({ command: z.literal("node-add"), node: z.string() }),
  z.strictObject({ command: z.literal("site-add"), site: z.string(), wipe: z.boolean() }),
  z.strictObject({ command: z.literal("site-forget"), site: z.string() }),
  z.strictObject({ command: z.literal("describe") }),
]);
export type DevCommand = z.infer<typeof devCommandSchema>;

/** Serves those commands on the supervisor's socket. */
export function startCommandServer(parameters: {
  readonly socket: string;
  readonly supervisor: Supervisor;
  readonly fabric: LinkFabric | undefined;
  /** Makes and starts a blob node, as site/node. */
  readonly addNode: (node: string) => Promise<void>;
  /** Makes and starts a site; `wipe`: without what an earlier one of that name kept. One that runs already stays. */
  readonly addSite: (site: string, wipe: boolean) => Promise<void>;
  /** Stops a site for good; what it kept stays on the disk. */
  readonly forgetSite: (site: string) => Promise<void>;
}): Promise<AsyncDisposable> {
  const { socket, supervisor, fabric, addNode, addSite, forgetSite } = parameters;
  const links = (): LinkFabric => {
    if (fabric === undefined) throw new Error("this cluster has no link proxies: start it with --links (or --rtt)");
    return fabric;
  };
  return serveCommands(socket, async (raw) => {
    const command = devCommandSchema.parse(raw);
    switch (command.command) {
      case "site-start":
        supervisor.startSite(command.site);
        break;
      case "site-stop":
        await supervisor.stopSite(command.site);
        break;
      case "site-kill":
        await supervisor.killSite(command.site);
        break;
      case "process-start":
        supervisor.startProcess(command.process);
        break;
      case "process-stop":
        await supervisor.stopProcess(command.process);
        break;
      case "process-kill":
        await supervisor.killProcess(command.process, { hold: command.hold });
        break;
      case "link-cut":
        links().cut(command.pair, command);
        break;
      case "link-heal":
        links().heal(command.pair, command);
        break;
      case "link-delay":
        links().delay(command.pair, command.rttMs);
        break;
      case "link-limit":
        links().limit(command.pair, command.bytesPerSecond);
        break;
      case "clock-skew":
        await supervisor.skew(command.site, command.offsetMs);
        break;
      case "node-add":
        await addNode(command.node);
        break;
      case "site-add":
        await addSite(command.site, command.wipe);
        break;
      case "site-forget":
        await forgetSite(command.site);
        break;
      case "describe":
        break;
    }
    return supervisor.describe();
  });
}
