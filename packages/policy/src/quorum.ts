/** How many members must have fsynced an entry: the home alone up to two members, a majority from three on. */
export function quorumSize(members: number): number {
  return members <= 2 ? 1 : Math.floor(members / 2) + 1;
}

/**
 * The highest value that a quorum of the members has reached. The home must be in it: with up to two members its own
 * value counts alone.
 */
export function quorumValue(members: readonly string[], home: string, valueAt: (site: string) => number): number {
  const own = valueAt(home);
  const others = members
    .filter((site) => site !== home)
    .map(valueAt)
    .toSorted((a, b) => b - a);
  const needed = quorumSize(members.length) - (members.includes(home) ? 1 : 0);
  if (needed <= 0) return own;
  return Math.min(own, others[needed - 1] ?? Number.NEGATIVE_INFINITY);
}
