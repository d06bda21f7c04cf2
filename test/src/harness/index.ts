export { type CommandResult, DevProcess, type RunFile, runCommand } from "./dev-process.ts";
export { freePorts } from "./free-ports.ts";
export { type Answer, digestOf, MANIFEST_TYPE, makeImage, OciClient, type TestImage } from "./oci-client.ts";
export { needs } from "./programs.ts";
export { until } from "./until.ts";
