import { describeError, openRegistry } from "../client/registry-client.ts";
import { CommandError, ExitCode, failure } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";

/** Options of `meridian site restore`. */
export interface SiteRestoreOptions extends ServerOptions {
  readonly acceptLoss?: boolean;
}

/** What a gateway says of a site's log. */
interface LogState {
  readonly site: string;
  readonly state: "whole" | "restoring";
  readonly message?: string;
}

/** Shows how far a site's lost log is restored, or gives up what cannot be. Exits with 1 while it takes no writes. */
export async function runSiteRestore(site: string, options: SiteRestoreOptions): Promise<void> {
  const client = openRegistry(options);
  const path = `/v2/_meridian/log-restore?site=${encodeURIComponent(site)}`;
  const answer = options.acceptLoss
    ? await client.call(path, { method: "POST", json: { acceptLoss: true } })
    : await client.call(path);
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  const log = JSON.parse(answer.text) as LogState;
  const text = log.state === "whole" ? `the log of site ${log.site} is whole` : (log.message ?? log.state);
  process.stdout.write(options.json ? `${JSON.stringify(log)}\n` : `${text}\n`);
  if (log.state !== "whole") throw new CommandError(ExitCode.failed, `site ${log.site} takes no writes yet`);
}
