import { isContentError } from "@meridian/oci";
import { createSystemClock, systemRandom } from "@meridian/runtime";
import { openEmbeddedLogs } from "./open-embedded-logs.ts";

// Appends to the log at argv[2] until its file may not grow, then tries again, reads, opens another stream and closes.
process.on("SIGXFSZ", () => {});
const path = process.argv[2]!;
const clock = createSystemClock();
const logs = await openEmbeddedLogs({ path, site: "eu", writer: "eu/child", clock, random: systemRandom });
const log = await logs.open("META_eu");
const payload = Buffer.alloc(20_000, 1);
let acknowledged = 0;

async function kindOf(attempt: () => Promise<unknown>): Promise<string> {
  try {
    await attempt();
    return "done";
  } catch (error) {
    // LMDB takes a write that a limit cut short for a disk error, and this disk is not full.
    const full =
      isContentError(error, "no-space") || (isContentError(error) && /disk full or failing/.test(error.message));
    return full ? "full" : String(error);
  }
}

const append = (): Promise<number> => log.append({ subject: `m.eu.tag.${acknowledged}`, payload });
let outcome = "done";
while (outcome === "done") {
  outcome = await kindOf(append);
  if (outcome === "done") acknowledged += 1;
}
process.stdout.write(`${outcome}\n`);
const together = await Promise.all([kindOf(append), kindOf(append)]);
process.stdout.write(`${together.join(" ")}\n`);
const last = await log.last(`m.eu.tag.${acknowledged - 1}`);
const { sequence } = await log.head();
process.stdout.write(`${acknowledged > 10 && last?.sequence === sequence ? "kept" : "lost"}\n`);
process.stdout.write(`${await kindOf(() => logs.open("FROM_us"))}\n`);
await logs[Symbol.asyncDispose]();
process.stdout.write("closed\n");
