/** Why an address cannot be listened on, in words for the operator: one line that names the address. */
export function explainListenError(address: string, error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const known = REASONS.find(([code]) => text.includes(code) || (error as NodeJS.ErrnoException).code === code);
  return `cannot listen on ${address}: ${known?.[1] ?? text}`;
}

const REASONS = [
  ["EADDRINUSE", "the port is taken by another process"],
  ["EACCES", "this user may not use that port"],
  ["EADDRNOTAVAIL", "this machine has no such address"],
] as const;
