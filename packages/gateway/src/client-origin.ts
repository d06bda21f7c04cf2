import { BlockList, isIP } from "node:net";
import type { Exchange } from "./exchange.ts";

/** Where a request came from, as far as it can be believed. */
export interface ClientOrigin {
  /** The client's address: the socket's peer, or what a trusted proxy says. */
  address(exchange: Exchange): string;
  /** Scheme, host and port that the client used, e.g. "https://registry.example:5001"; what the token realm starts with. */
  origin(exchange: Exchange): string;
}

const HOST = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::[0-9]{1,5})?$/;

/**
 * Reads X-Forwarded-For, -Proto and -Host when the socket's peer is one of `trustedProxies` (addresses or CIDR blocks).
 * A Host that is missing or malformed falls back to `fallbackHost()`.
 * @throws TypeError when an entry of `trustedProxies` is neither.
 */
export function createClientOrigin(options: {
  readonly trustedProxies: readonly string[];
  readonly fallbackHost: () => string;
}): ClientOrigin {
  const trusted = blockList(options.trustedProxies);
  const isTrusted = (address: string): boolean => {
    const plain = plainAddress(address);
    const family = isIP(plain);
    return family !== 0 && trusted.check(plain, family === 6 ? "ipv6" : "ipv4");
  };
  const byProxy = options.trustedProxies.length === 0 ? () => false : isTrusted;
  return {
    address(exchange) {
      const peer = plainAddress(exchange.peerAddress);
      if (!byProxy(peer)) return peer;
      const hops = (exchange.header("x-forwarded-for") ?? "").split(",").map((hop) => plainAddress(hop.trim()));
      // Proxies append: the last hop that is no trusted proxy is the client.
      return hops.findLast((hop) => isIP(hop) !== 0 && !isTrusted(hop)) ?? peer;
    },
    origin(exchange) {
      const proxied = byProxy(exchange.peerAddress);
      const proto = proxied ? lastOf(exchange.header("x-forwarded-proto")) : undefined;
      const scheme = proto === "http" || proto === "https" ? proto : exchange.encrypted ? "https" : "http";
      const forwarded = proxied ? lastOf(exchange.header("x-forwarded-host")) : undefined;
      const host = [forwarded, exchange.host].find((candidate) => candidate !== undefined && HOST.test(candidate));
      return `${scheme}://${host ?? options.fallbackHost()}`;
    },
  };
}

function lastOf(list: string | undefined): string | undefined {
  return list?.split(",").at(-1)?.trim();
}

/**
 * An IPv4 address that arrived on an IPv6 socket without its prefix, an IPv6 address without its zone: that names an
 * interface of whoever wrote it, in almost any characters (RFC 4007 §11), and says nothing here.
 */
function plainAddress(address: string): string {
  const zone = address.indexOf("%");
  const plain = zone > 0 && isIP(address) === 6 ? address.slice(0, zone) : address;
  return plain.startsWith("::ffff:") && plain.includes(".") ? plain.slice(7) : plain;
}

function blockList(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [address, bits, ...rest] = entry.split("/");
    const family = isIP(address ?? "");
    const prefix = bits === undefined ? (family === 6 ? 128 : 32) : Number(bits);
    if (
      family === 0 ||
      rest.length > 0 ||
      !Number.isInteger(prefix) ||
      prefix < 0 ||
      prefix > (family === 6 ? 128 : 32)
    ) {
      throw new TypeError(`trustedProxies: "${entry}" is neither an address nor a CIDR block`);
    }
    list.addSubnet(address!, prefix, family === 6 ? "ipv6" : "ipv4");
  }
  return list;
}
