import type { Digest } from "./digest.ts";

/** Content by name (OCI image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Where else the content may be had. */
  readonly urls?: readonly string[];
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of an index's child: as it stands in the manifest, not checked. */
  readonly platform?: unknown;
}

/** How a manifest refers to content. */
export type ReferenceRole =
  | "config"
  | "layer"
  /** An entry of an index: mostly a manifest, but build caches list blobs there. */
  | "child"
  /** A layer or child that is kept elsewhere: never required, never replicated on its own. */
  | "foreign";

/** A descriptor with its role. */
export interface ManifestReference {
  readonly role: ReferenceRole;
  readonly descriptor: Descriptor;
}
