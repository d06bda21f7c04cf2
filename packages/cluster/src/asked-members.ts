import { ContentError } from "@meridian/oci";
import type { Topology } from "./topology.ts";

/**
 * A question to all members counts only when the asker knows of them all: one that joined meanwhile may hold what nobody
 * else needs. The policy home knows of each first, and is always asked.
 * @throws ContentError `unavailable` when a member is not among those that are asked.
 */
export function requireAllAsked(asked: readonly string[], { site, sites }: Pick<Topology, "site" | "sites">): void {
  const missing = sites.filter((member) => !asked.includes(member));
  if (missing.length === 0) return;
  throw new ContentError(
    "unavailable",
    `the asker does not know yet that ${missing.join(", ")} joined, as ${site} does: it is to ask again`,
  );
}
