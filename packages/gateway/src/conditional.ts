import type { TagCondition } from "@meridian/catalog";
import { type Digest, tryParseDigest } from "@meridian/oci";
import type { Exchange } from "./exchange.ts";
import { Refusal } from "./refusal.ts";

/** The entity tag of content: its digest (RFC 9110 §8.8.3). */
export function entityTag(digest: Digest): string {
  return `"${digest}"`;
}

/** True when the client has it already (RFC 9110 §13.1.2). */
export function isFresh(exchange: Exchange, digest: Digest): boolean {
  const header = exchange.header("if-none-match");
  if (header === undefined) return false;
  return header === "*" || header.split(",").some((tag) => bareTag(tag) === digest);
}

/** Entity tag without weakness and quotes; clients send digests without quotes too. */
function bareTag(tag: string): string {
  return tag
    .trim()
    .replace(/^W\//, "")
    .replace(/^"(.*)"$/, "$1");
}

/**
 * The condition on a tag that If-Match and If-None-Match set on a write (RFC 9110 §13.1). Undefined when there is none.
 * @throws Refusal 400 for other forms than one digest and `*`.
 */
export function tagCondition(exchange: Exchange): TagCondition | undefined {
  const match = exchange.header("if-match");
  const noneMatch = exchange.header("if-none-match");
  if (match === undefined && noneMatch === undefined) return undefined;
  if (noneMatch !== undefined && noneMatch.trim() !== "*") {
    throw new Refusal("UNSUPPORTED", 'If-None-Match on a write may only be "*"', { status: 400 });
  }
  if (match === undefined) return { ifNoneMatch: "*" };
  const digest = tryParseDigest(bareTag(match));
  if (digest === undefined || noneMatch !== undefined) {
    throw new Refusal("UNSUPPORTED", "If-Match on a write takes one quoted digest, and nothing beside it", {
      status: 400,
    });
  }
  return { ifMatch: digest };
}

/** The answer when a condition does not hold: what the tag names instead. */
export function preconditionFailed(tag: string, current: Digest | undefined): Refusal {
  const message = current === undefined ? `tag ${tag} does not exist` : `tag ${tag} names ${current}`;
  return new Refusal("PRECONDITION_FAILED", message, {
    detail: { tag, digest: current ?? null },
    headers: current === undefined ? [] : ["ETag", entityTag(current)],
  });
}
