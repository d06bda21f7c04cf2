import { execFileSync } from "node:child_process";

/**
 * For `{ skip }` of a suite that needs these programs: false when all are on PATH, else the reason.
 * Under MERIDIAN_REQUIRE=all a missing program is a failure, not a skip.
 */
export function needs(...programs: string[]): string | false {
  const missing = programs.filter((program) => !isOnPath(program));
  if (missing.length === 0) return false;
  const reason = `needs ${missing.join(", ")} on PATH`;
  if (process.env.MERIDIAN_REQUIRE === "all") throw new Error(reason);
  return reason;
}

function isOnPath(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v "$0"`, program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
