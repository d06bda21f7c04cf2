import type { Logger } from "@meridian/runtime";
import { metrics } from "@opentelemetry/api";

const meter = metrics.getMeter("@meridian/auth");
const logins = meter.createCounter("meridian.auth.logins", { description: "Token requests, by how they ended." });
const changes = meter.createCounter("meridian.policy.changes", { description: "Policy changes made by this site." });

/** How somebody proved who they are. */
export type LoginWay = "password" | "refresh" | "anonymous";

/** A token was issued. */
export function tokenIssued(log: Logger, fields: { user: string | undefined; way: LoginWay; address: string }): void {
  logins.add(1, { outcome: "ok", way: fields.way });
  log.debug("token issued", fields);
}

/** A password or refresh token was refused. */
export function loginRefused(log: Logger, fields: { user: string | undefined; way: LoginWay; address: string }): void {
  logins.add(1, { outcome: "refused", way: fields.way });
  log.info("login refused", fields);
}

/** An administrator's change is effective. */
export function policyChanged(log: Logger, fields: { who: string; key: string; revision: string }): void {
  changes.add(1);
  log.info("policy changed", fields);
}
