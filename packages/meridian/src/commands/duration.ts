import { usageError } from "../exit-status.ts";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of "500ms", "60s", "5m", "1h"; a bare number is seconds. @throws CommandError (exit code 2). */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim());
  if (match === null) throw usageError(`"${text}" is not a duration: 500ms, 60s, 5m or 1h is wanted`);
  return Number(match[1]) * (UNITS[match[2] ?? "s"] ?? 1);
}
