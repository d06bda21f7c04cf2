import { type Logger, lazyInstruments } from "@meridian/runtime";

const instruments = lazyInstruments("@meridian/auth", (meter) => ({
  logins: meter.createCounter("meridian.auth.logins", { description: "Token requests, by how they ended." }),
  changes: meter.createCounter("meridian.policy.changes", { description: "Policy changes made by this site." }),
}));

/** How somebody proved who they are. */
export type LoginWay = "password" | "refresh" | "anonymous";

/** A token was issued. */
export function tokenIssued(log: Logger, fields: { user: string | undefined; way: LoginWay; address: string }): void {
  instruments().logins.add(1, { outcome: "ok", way: fields.way });
  log.debug("token issued", fields);
}

/** A password or refresh token was refused. */
export function loginRefused(log: Logger, fields: { user: string | undefined; way: LoginWay; address: string }): void {
  instruments().logins.add(1, { outcome: "refused", way: fields.way });
  log.info("login refused", fields);
}

/** An administrator's change is effective. */
export function policyChanged(log: Logger, fields: { who: string; key: string; revision: string }): void {
  instruments().changes.add(1);
  log.info("policy changed", fields);
}
