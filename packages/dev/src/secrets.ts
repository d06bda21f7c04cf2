import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";

/** What the processes of one site keep to themselves. */
export interface SiteSecrets {
  /** Signs upload locations; 32 bytes, base64. */
  readonly uploadKey: string;
  readonly natsPassword: string;
}

/** Reads the site's secrets file, making it with mode 0600 on first start; resolves with its path too. */
export function ensureSiteSecrets(home: string, site: string): SiteSecrets & { readonly path: string } {
  const folder = join(home, "sites", site);
  const path = join(folder, "secrets.yaml");
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true });
    const secrets: SiteSecrets = {
      uploadKey: randomBytes(32).toString("base64"),
      natsPassword: randomBytes(24).toString("base64url"),
    };
    writeFileSync(path, stringify(secrets), { mode: 0o600 });
  }
  return { ...(parse(readFileSync(path, "utf8")) as SiteSecrets), path };
}

/** The admin's password: generated on first start, kept in `admin-password` (mode 0600) with its hash beside it. */
export interface AdminPassword {
  readonly path: string;
  /** PHC string of argon2id: all that a service ever gets to see. */
  readonly hash: string;
}

export async function ensureAdminPassword(home: string): Promise<AdminPassword> {
  const path = join(home, "admin-password");
  const hashPath = join(home, "admin-password.hash");
  if (!existsSync(path)) {
    writeFileSync(path, `${randomBytes(18).toString("base64url")}\n`, { mode: 0o600 });
  }
  if (!existsSync(hashPath)) {
    const password = readFileSync(path, "utf8").trim();
    // Loaded on first start only: later starts need none of it.
    const { hashPassword } = await import("@meridian/auth");
    writeFileSync(hashPath, `${await hashPassword(password)}\n`, { mode: 0o600 });
  }
  return { path, hash: readFileSync(hashPath, "utf8").trim() };
}
