import { isIP } from "node:net";
import { blockListOf } from "./config.ts";

/** Answers that are remembered, so that an address is looked for in the list once. */
const MAX_KNOWN = 10_000;

/** Tells whether an address is one of `entries`, addresses or CIDR blocks. @throws TypeError when an entry is neither. */
export function createExemption(entries: readonly string[]): (address: string) => boolean {
  const list = blockListOf(entries);
  const known = new Map<string, boolean>();
  const look = (address: string): boolean => {
    const family = isIP(address);
    return family !== 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
  };
  return (address) => {
    let isExempt = known.get(address);
    if (isExempt === undefined) {
      if (known.size >= MAX_KNOWN) known.clear();
      isExempt = look(address);
      known.set(address, isExempt);
    }
    return isExempt;
  };
}
