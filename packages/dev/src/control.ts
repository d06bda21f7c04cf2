/**
 * What passes between the supervisor, its processes and the command line. An entry of its own, so that commands and
 * services load none of what the supervisor itself needs.
 */
export type { DevCommand } from "./command-server.ts";
export { createCrashPoint } from "./crash-point.ts";
export { startFaultHooks } from "./fault-hooks.ts";
export { type RunFile, type RunLink, type RunSite, readRunFile } from "./run-file.ts";
export { sendCommand } from "./unix-socket.ts";
