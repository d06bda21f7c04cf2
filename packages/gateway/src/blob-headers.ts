import type { Digest } from "@meridian/oci";
import type { HeaderList } from "./exchange.ts";

/** Blobs whose headers are kept; each costs some 700 bytes. */
const REMEMBERED = 4_096;

interface Made {
  readonly version: string;
  readonly list: HeaderList;
}

/** Headers of blobs that are answered from memory, made once for each version of the view. */
export class BlobHeaders {
  readonly #known = new Map<Digest, Made>();

  /** A frozen list: the edge keeps what it becomes on the wire. `make` is called when none is known of this version. */
  of(digest: Digest, version: string, make: () => string[]): HeaderList {
    const known = this.#known.get(digest);
    if (known !== undefined && known.version === version) return known.list;
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    const made = { version, list: Object.freeze(make()) };
    this.#known.set(digest, made);
    return made.list;
  }
}
