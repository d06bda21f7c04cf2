import { z } from "zod";

const DAY_MINUTES = 24 * 60;
const WINDOW = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/;

/** What bytes may cross the link from one other site into this one. */
const linkRuleSchema = z.strictObject({
  /** Bytes a second, at most, over all that this site fetches from there; clients' pulls come first. Absent: no limit. */
  maxBytesPerSecond: z.int().min(1_024).optional(),
  /**
   * Times of the day, UTC, as "22:00-06:00", within which layers cross that nobody waits for. Manifests, and what a
   * client pulls, cross at any time. Absent: always.
   */
  windows: z.array(z.string().regex(WINDOW, 'must be HH:MM-HH:MM, UTC, e.g. "22:00-06:00"')).nonempty().optional(),
});

/** Rules for links into this site, by the name of the other site; the same in every process of a site. */
export const linksSchema = z.record(z.string(), linkRuleSchema);

/** See {@link linksSchema}. */
export type LinkRules = Readonly<Record<string, z.infer<typeof linkRuleSchema>>>;

/** True when layers that nobody waits for may cross the link from `site` at `now` (milliseconds since the Unix epoch). */
export function isLinkOpen(rules: LinkRules, site: string, now: number): boolean {
  const windows = rules[site]?.windows;
  if (windows === undefined) return true;
  const date = new Date(now);
  const minute = date.getUTCHours() * 60 + date.getUTCMinutes();
  return windows.some((window) => covers(window, minute));
}

/** A window that ends when it begins is the whole day; one that ends earlier goes over midnight. */
function covers(window: string, minute: number): boolean {
  const [from = 0, to = 0] = window.split("-").map(minuteOf);
  const length = (to - from + DAY_MINUTES) % DAY_MINUTES || DAY_MINUTES;
  return (minute - from + DAY_MINUTES) % DAY_MINUTES < length;
}

function minuteOf(text: string): number {
  return Number(text.slice(0, 2)) * 60 + Number(text.slice(3, 5));
}
