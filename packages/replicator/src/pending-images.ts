import type { Digest } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";

/** An image of which blobs are missing here. */
interface PendingImage {
  readonly repository: string;
  readonly digest: Digest;
  readonly missing: Set<Digest>;
  readonly since: number;
}

/** An image that has just become whole at this site. */
export interface CompleteImage {
  readonly repository: string;
  /** Of its manifest. */
  readonly digest: Digest;
  /** Since it was first known here, milliseconds. */
  readonly tookMs: number;
}

/** More are not followed: nobody hears of their completion. */
const MAX_IMAGES = 50_000;

/** Which blobs each image still lacks here, what refers to it included, so that its completion can be told. */
export class PendingImages {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #images = new Map<string, PendingImage>();
  readonly #byBlob = new Map<Digest, Set<PendingImage>>();

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#images.size;
  }

  /** An image lacks these blobs. With none it is only forgotten. */
  lacks(repository: string, digest: Digest, missing: Iterable<Digest>): void {
    const key = `${repository} ${digest}`;
    const known = this.#images.get(key);
    const since = known?.since ?? this.#clock.monotonic();
    if (known !== undefined) this.#forget(key, known);
    const image: PendingImage = { repository, digest, missing: new Set(missing), since };
    if (image.missing.size === 0 || this.#images.size >= MAX_IMAGES) return;
    this.#images.set(key, image);
    for (const blob of image.missing) {
      const images = this.#byBlob.get(blob) ?? new Set();
      images.add(image);
      this.#byBlob.set(blob, images);
    }
  }

  /** A blob is here; returns the images of which it was the last. */
  arrived(blob: Digest): CompleteImage[] {
    const complete: CompleteImage[] = [];
    for (const image of this.#byBlob.get(blob) ?? []) {
      image.missing.delete(blob);
      if (image.missing.size > 0) continue;
      const { repository, digest, since } = image;
      this.#images.delete(`${repository} ${digest}`);
      complete.push({ repository, digest, tookMs: Math.round(this.#clock.monotonic() - since) });
    }
    this.#byBlob.delete(blob);
    return complete;
  }

  /** A blob is not wanted any more: its images will not become whole. */
  dropped(blob: Digest): void {
    for (const image of this.#byBlob.get(blob) ?? []) this.#forget(`${image.repository} ${image.digest}`, image);
  }

  #forget(key: string, image: PendingImage): void {
    this.#images.delete(key);
    for (const blob of image.missing) {
      const images = this.#byBlob.get(blob);
      images?.delete(image);
      if (images?.size === 0) this.#byBlob.delete(blob);
    }
  }
}
