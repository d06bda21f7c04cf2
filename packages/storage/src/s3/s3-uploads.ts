import { ContentError, type DigestAlgorithm } from "@meridian/oci";
import type { UploadBytes } from "../upload-bytes.ts";
import type { FoundUpload, UploadDriver } from "../upload-sessions.ts";
import { S3UploadBytes, type S3UploadsParts } from "./s3-upload-bytes.ts";
import { decodeUploadState, encodeUploadState, lengthOf } from "./s3-upload-state.ts";

/** Uploads as objects below `uploads/`. */
export class S3Uploads implements UploadDriver {
  readonly #parts: S3UploadsParts;

  constructor(parts: S3UploadsParts) {
    this.#parts = parts;
  }

  async create(id: string, algorithm: DigestAlgorithm): Promise<UploadBytes> {
    const { bucket, layout, newName } = this.#parts;
    const upload = { id, nonce: newName(), algorithm, segments: [] };
    try {
      await bucket.putNew(layout.upload(id).state, encodeUploadState(upload), { doing: "begin an upload" });
    } catch (error) {
      if (error instanceof ContentError && error.kind === "conflict") {
        throw new ContentError("conflict", `upload ${id} exists`);
      }
      throw error;
    }
    return new S3UploadBytes(this.#parts, upload);
  }

  async find(id: string): Promise<FoundUpload | undefined> {
    const { bucket, layout, newName } = this.#parts;
    const content = await bucket.get(layout.upload(id).state, { doing: "resume an upload" });
    if (content === undefined) return undefined;
    const state = decodeUploadState(content);
    const { algorithm = "sha256", segments = [], nonce = newName() } = state ?? {};
    const bytes = new S3UploadBytes(this.#parts, { id, nonce, algorithm, segments });
    return { bytes, offset: lengthOf(segments), algorithm: state?.algorithm };
  }
}
