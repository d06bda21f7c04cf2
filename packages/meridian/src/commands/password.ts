import { stderr, stdin } from "node:process";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { usageError } from "../exit-status.ts";

/** The first line of standard input, or what the user types unseen. @throws CommandError (exit code 2) when there is none. */
export async function readPassword(fromStdin: boolean): Promise<string> {
  if (!fromStdin && !stdin.isTTY)
    throw usageError("there is no terminal to ask for the password: use --password-stdin");
  if (!fromStdin) stderr.write("Password: ");
  // Swallows the echo: a password is never shown.
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output: silent, terminal: !fromStdin });
  try {
    for await (const line of lines) {
      if (!fromStdin) stderr.write("\n");
      if (line !== "") return line;
      break;
    }
  } finally {
    lines.close();
  }
  throw usageError("no password was given");
}
