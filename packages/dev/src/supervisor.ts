import type { Logger, Timers } from "@meridian/runtime";
import { type SupervisedChild, superviseChild } from "./child.ts";
import type { LinkFabric } from "./link-fabric.ts";
import type { Plan, PlannedProcess, PlannedSite } from "./plan.ts";
import { faultSocketPath } from "./process-config.ts";
import { type RunFile, writeRunFile } from "./run-file.ts";
import { sendCommand } from "./unix-socket.ts";

/** Keeps the planned processes running and run.json true, and breaks both on demand. */
export interface Supervisor extends AsyncDisposable {
  startSite(site: string): void;
  /** SIGTERM to each process, services before their log server. */
  stopSite(site: string): Promise<void>;
  /** SIGKILL to each process of the site at once. */
  killSite(site: string): Promise<void>;
  /** `name`: site/process. Started again unless `hold`. */
  killProcess(name: string, options: { hold: boolean }): Promise<void>;
  stopProcess(name: string): Promise<void>;
  startProcess(name: string): void;
  /** Takes a process of the plan that was added to it, and starts it. */
  add(process: PlannedProcess): void;
  /** Stops a site's processes and forgets them; the site goes out of the plan. */
  forgetSite(site: string): Promise<void>;
  /** Shifts the wall clocks of a site's processes by this many milliseconds. */
  skew(site: string, offsetMs: number): Promise<void>;
  describe(): RunFile;
}

/** How often the byte counts of links are written to run.json while traffic flows. */
const RUN_FILE_INTERVAL_MS = 250;

export function createSupervisor(parameters: {
  readonly plan: Plan;
  readonly socket: string;
  readonly fabric: LinkFabric | undefined;
  readonly command: (process: PlannedProcess) => {
    executable: string;
    args: readonly string[];
    env?: Record<string, string>;
  };
  readonly timers: Timers;
  readonly log: Logger;
}): Supervisor {
  const { plan, socket, fabric, timers, log } = parameters;
  const children = new Map<string, SupervisedChild>();
  let written = "";
  const describe = (): RunFile => ({
    supervisor: process.pid,
    socket,
    sites: plan.sites.map((site) => ({
      name: site.name,
      gateway: site.gateway,
      admin: site.admin,
      state: childrenOf(site).some((child) => child.pid !== undefined) ? "running" : "stopped",
      processes: site.processes.flatMap(({ service, name }) => {
        const pid = children.get(`${site.name}/${name}`)?.pid;
        return pid === undefined ? [] : [{ service, name, pid }];
      }),
    })),
    links: fabric?.report() ?? [],
  });
  const write = (): void => {
    const run = describe();
    const text = JSON.stringify(run);
    if (text === written) return;
    written = text;
    writeRunFile(plan.options.home, run);
  };
  const childrenOf = (site: PlannedSite): SupervisedChild[] =>
    site.processes.flatMap(({ name }) => children.get(`${site.name}/${name}`) ?? []);
  const site = (name: string): PlannedSite => {
    const found = plan.sites.find((one) => one.name === name);
    if (found === undefined)
      throw new Error(`no site "${name}"; there are ${plan.sites.map((one) => one.name).join(", ")}`);
    return found;
  };
  const child = (name: string): SupervisedChild => {
    const found = children.get(name);
    if (found === undefined) throw new Error(`no process "${name}"; there are ${[...children.keys()].join(", ")}`);
    return found;
  };
  const adopt = (process: PlannedProcess): SupervisedChild => {
    const name = `${process.site}/${process.name}`;
    const command = { ...parameters.command(process), logFile: process.logFile };
    const made = superviseChild({ name, command, timers, log, onChange: write });
    children.set(name, made);
    return made;
  };
  for (const process of plan.sites.flatMap((one) => one.processes)) adopt(process);
  const ticking = timers.every(RUN_FILE_INTERVAL_MS, write);
  const stopSite = async (name: string): Promise<void> => {
    const one = site(name);
    const of = (nats: boolean): SupervisedChild[] =>
      one.processes
        .filter((process) => (process.service === "nats-server") === nats)
        .map((process) => child(`${name}/${process.name}`));
    await Promise.all(of(false).map((running) => running.stop()));
    await Promise.all(of(true).map((running) => running.stop()));
    write();
  };
  return {
    startSite: (name) => {
      for (const one of childrenOf(site(name))) one.start();
    },
    stopSite,
    killSite: async (name) => {
      await Promise.all(childrenOf(site(name)).map((one) => one.kill({ hold: true })));
      write();
    },
    killProcess: async (name, options) => {
      const one = child(name);
      if (one.pid === undefined) throw new Error(`${name} does not run`);
      await one.kill(options);
      write();
    },
    stopProcess: async (name) => {
      await child(name).stop();
      write();
    },
    startProcess: (name) => child(name).start(),
    add: (process) => adopt(process).start(),
    async forgetSite(name) {
      await stopSite(name);
      for (const process of site(name).processes) children.delete(`${name}/${process.name}`);
      plan.sites.splice(plan.sites.indexOf(site(name)), 1);
      write();
    },
    async skew(name, offsetMs) {
      const services = site(name).processes.filter((process) => process.service !== "nats-server");
      await Promise.all(
        services.map((process) => sendCommand(faultSocketPath(plan.options.home, process), { skewMs: offsetMs })),
      );
    },
    describe,
    async [Symbol.asyncDispose]() {
      ticking[Symbol.dispose]();
      await Promise.all(plan.sites.map((one) => stopSite(one.name)));
      writeRunFile(plan.options.home, describe());
    },
  };
}
