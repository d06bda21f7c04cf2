import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** What `meridian login` keeps for one server. */
export interface StoredLogin {
  readonly username: string;
  readonly password: string;
  /** Path of the PEM file given at login. */
  readonly ca?: string;
}

interface CredentialFile {
  readonly format: 1;
  /** The server that commands use when they name none. */
  readonly current?: string;
  readonly servers: Readonly<Record<string, StoredLogin>>;
}

function filePath(): string {
  return join(process.env.XDG_CONFIG_HOME ?? join(homedir(), ".config"), "meridian", "credentials.json");
}

/** Undefined when nothing is kept. */
export function storedLogin(server: string): StoredLogin | undefined {
  return read().servers[server];
}

/** The origin that was logged in to last; undefined when nothing is kept. */
export function currentServer(): string | undefined {
  return read().current;
}

/** Keeps a login (file mode 0600); undefined removes it. */
export function keepLogin(server: string, login: StoredLogin | undefined): void {
  const old = read();
  const servers = { ...old.servers };
  if (login === undefined) delete servers[server];
  else servers[server] = login;
  const current = login === undefined ? (old.current === server ? undefined : old.current) : server;
  mkdirSync(dirname(filePath()), { recursive: true, mode: 0o700 });
  writeFileSync(
    filePath(),
    `${JSON.stringify({ format: 1, ...(current === undefined ? {} : { current }), servers }, null, 2)}\n`,
    {
      mode: 0o600,
    },
  );
}

function read(): CredentialFile {
  try {
    return JSON.parse(readFileSync(filePath(), "utf8")) as CredentialFile;
  } catch {
    return { format: 1, servers: {} };
  }
}
