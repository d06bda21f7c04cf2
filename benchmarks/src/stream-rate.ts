import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Bytes a second of one download by curl to nowhere. @throws Error unless it is answered 200. */
export async function streamRate(url: string, headers: Readonly<Record<string, string>> = {}): Promise<number> {
  const fields = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const { stdout } = await run("curl", [
    "-sS",
    "-o",
    "/dev/null",
    "-w",
    "%{http_code} %{speed_download}",
    ...fields,
    url,
  ]);
  const [status, rate] = stdout.split(" ");
  if (status !== "200") throw new Error(`${url}: status ${status}`);
  return Number(rate);
}
