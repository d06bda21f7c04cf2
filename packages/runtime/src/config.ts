import { readFile } from "node:fs/promises";
import { LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import { assertStrict } from "./strict-schema.ts";

/** A configuration that cannot be used; the process ends with exit code 2. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** Every problem, one line each, `path: message`. Never contains a value. */
  readonly problems: readonly string[];
  /** Where the text came from. */
  readonly source: string;

  constructor(source: string, problems: readonly string[], options?: { cause?: unknown }) {
    super([`${source} cannot be used:`, ...problems.map((problem) => `  ${problem}`)].join("\n"), options);
    this.source = source;
    this.problems = problems;
  }
}

/**
 * Parses YAML and checks it with a schema. Throws one ConfigError that lists all problems: bad YAML with line and
 * column, wrong values and unknown keys with their path. Objects of the schema must be `z.strictObject`, else TypeError.
 */
export function parseConfig<S extends z.ZodType>(schema: S, text: string, { source }: { source: string }): z.output<S> {
  assertStrict(schema);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    const problems = document.errors.map(({ pos, message }) => {
      const { line, col } = lines.linePos(pos[0]);
      return `line ${line}, column ${col}: ${message}`;
    });
    throw new ConfigError(source, problems);
  }
  const result = schema.safeParse(document.toJS() ?? {});
  if (!result.success)
    throw new ConfigError(
      source,
      result.error.issues.flatMap((issue) => problemsOf(issue, [])),
    );
  return result.data;
}

/** Reads and parses a file as {@link parseConfig} does. A file that cannot be read is a ConfigError too. */
export async function loadConfigFile<S extends z.ZodType>(schema: S, path: string): Promise<z.output<S>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new ConfigError(path, [reasonOf(error as NodeJS.ErrnoException)], { cause: error });
  }
  return parseConfig(schema, text, { source: path });
}

function reasonOf(error: NodeJS.ErrnoException): string {
  const reasons: Record<string, string> = {
    ENOENT: "there is no such file",
    EACCES: "the file may not be read by this user",
    EISDIR: "this is a folder, not a file",
  };
  return reasons[error.code ?? ""] ?? error.message;
}

type Issue = z.core.$ZodIssue;

function problemsOf(issue: Issue, outer: readonly PropertyKey[]): string[] {
  const path = [...outer, ...issue.path];
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => line([...path, key], "unknown key"));
  if (issue.code === "invalid_union" && issue.errors.length > 0) {
    // The alternative that fits best is most likely the one that was meant.
    const best = issue.errors.reduce((a, b) => (b.length < a.length ? b : a));
    return best.flatMap((inner) => problemsOf(inner, path));
  }
  return [line(path, issue.message)];
}

function line(path: readonly PropertyKey[], message: string): string {
  const name = path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return text === "" ? String(part) : `${text}.${String(part)}`;
  }, "");
  return name === "" ? message : `${name}: ${message}`;
}
