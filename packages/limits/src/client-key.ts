/**
 * What an address is counted under: an IPv4 address itself, of an IPv6 address the first 64 bits, because that is what a
 * single customer gets. Anything else is taken as it is.
 */
export function clientKey(address: string): string {
  if (!address.includes(":")) return address;
  // An IPv4 address that arrived on an IPv6 socket.
  if (address.includes(".")) return address.slice(address.lastIndexOf(":") + 1);
  const plain = address.split("%", 1)[0] ?? "";
  const [head = "", tail] = plain.split("::", 2);
  const groups = head === "" ? [] : head.split(":");
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === "" ? 0 : tail.split(":").length);
  const all = [...groups, ...Array<string>(Math.max(0, missing)).fill("0"), ...(tail ? tail.split(":") : [])];
  const network = all.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, "").toLowerCase());
  return `${network.join(":")}::/64`;
}
