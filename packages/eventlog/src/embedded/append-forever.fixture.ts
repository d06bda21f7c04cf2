import { createSystemClock, systemRandom } from "@meridian/runtime";
import { openEmbeddedLogs } from "./open-embedded-logs.ts";

// Appends to the log at argv[2] from ten loops, printing "<sequence> <value>" for each acknowledged one, until killed.
const path = process.argv[2]!;
const clock = createSystemClock();
const logs = await openEmbeddedLogs({ path, site: "eu", writer: "eu/child", clock, random: systemRandom });
const log = await logs.open("META_eu");
let next = 0;
await Promise.all(
  Array.from({ length: 10 }, async () => {
    for (;;) {
      next += 1;
      const value = next;
      const sequence = await log.append({ subject: `m.eu.tag.${value}`, payload: Buffer.from(String(value)) });
      process.stdout.write(`${sequence} ${value}\n`);
    }
  }),
);
