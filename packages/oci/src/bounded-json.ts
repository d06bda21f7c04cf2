import { OciError } from "./errors.ts";

/** Manifests nest four or five levels. */
const MAX_DEPTH = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Parses JSON in UTF-8 that nests at most {@link MAX_DEPTH} levels. @throws OciError MANIFEST_INVALID */
export function parseBoundedJson(bytes: Uint8Array): unknown {
  requireShallow(bytes);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    const reason = error instanceof SyntaxError ? "not valid JSON" : "not valid UTF-8";
    throw new OciError("MANIFEST_INVALID", `manifest invalid: ${reason}`, { detail: { reason }, cause: error });
  }
}

/** Counts brackets outside strings: enough to bound what JSON.parse builds, whether or not the text is valid. */
function requireShallow(bytes: Uint8Array): void {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (inString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) {
        const reason = `nested deeper than ${MAX_DEPTH} levels`;
        throw new OciError("MANIFEST_INVALID", `manifest invalid: ${reason}`, { detail: { reason } });
      }
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
}
